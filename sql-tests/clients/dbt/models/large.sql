{{ config(materialized='view') }}
select customer, cents from {{ ref('totals') }} where cents >= 100
