{{ config(materialized='view') }}
select id, customer, cents from {{ source('raw', 'raw_orders') }} where cents > 0
