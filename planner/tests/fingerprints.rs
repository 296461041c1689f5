//! Fingerprints: by them state finds its operator again, so they must hold still where nothing changes and move
//! where something does.

use millstream_planner::bind::{self, Binder};
use millstream_planner::parse::parse_query;
use millstream_planner::settings::PlanSettings;

use crate::fixture;

fn fingerprints(sql: &str) -> Vec<String> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let bound = Binder::new(&catalog, &settings).definition(&parse_query(sql).unwrap()).unwrap();
    bind::view(&bound, None).unwrap().dataflow.fingerprints()
}

const COUNT: &str = "SELECT auction, count(*) AS n FROM bids WHERE price > 10 GROUP BY auction";

#[test]
fn names_do_not_count() {
    let renamed = "SELECT b.auction AS a, count(*) AS m FROM bids AS b WHERE b.price > 10 GROUP BY b.auction";
    assert_eq!(fingerprints(COUNT), fingerprints(COUNT));
    assert_eq!(fingerprints(COUNT), fingerprints(renamed));
}

#[test]
fn what_is_computed_counts() {
    let root = |sql: &str| fingerprints(sql).pop().unwrap();
    let known = root(COUNT);
    for other in [
        "SELECT bidder, count(*) AS n FROM bids WHERE price > 10 GROUP BY bidder",
        "SELECT auction, count(*) AS n FROM bids WHERE price > 11 GROUP BY auction",
        "SELECT auction, count(bidder) AS n FROM bids WHERE price > 10 GROUP BY auction",
        "SELECT auction, sum(price) AS n FROM bids WHERE price > 10 GROUP BY auction",
        "SELECT id, count(*) AS n FROM auctions WHERE category > 10 GROUP BY id",
    ] {
        assert_ne!(root(other), known, "{other}");
    }
}
