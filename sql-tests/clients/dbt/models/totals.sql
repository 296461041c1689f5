{{ config(materialized='materialized_view') }}
select customer, count(*) as orders, sum(cents) as cents
from {{ source('raw', 'raw_orders') }} where cents > 0 group by customer
