//! `millstream demo`: a server in memory with a Nexmark auction at 10,000 events per second and four views.
//!
//! On a terminal one of the views is drawn again and again in place; elsewhere plain lines are printed.

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;

use super::CliError;
use super::client::{Client, TextRows};
use super::serve::{stop_signal, until_ended};
use super::table::{self, Format};
use crate::engine::{Engine, EngineConfig};
use crate::session::SqlError;
use crate::wire::{ListenError, Listener, WireConfig, listen};

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// End by itself after this time (`10s`, `2m`), leaving the last table on the screen.
    #[arg(long = "for", env = "MILLSTREAM_DEMO_FOR", value_parser = duration)]
    lasts: Option<Duration>,

    /// The port for Postgres clients; if it is taken, a free one is used.
    #[arg(long, env = "MILLSTREAM_DEMO_PORT", default_value_t = 5480)]
    port: u16,

    /// Events per second of all kinds together.
    #[arg(long, env = "MILLSTREAM_DEMO_RATE", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
}

/// Time between two looks: often enough to move, seldom enough to read.
const REFRESH: Duration = Duration::from_millis(1000);

fn definitions(rate: u32) -> String {
    let source = |name: &str, kind: &str| {
        format!(
            "CREATE SOURCE {name} (WATERMARK FOR date_time AS date_time - INTERVAL '1 second') \
             WITH (connector = 'nexmark', nexmark.table.type = '{kind}', rows.per.second = '{rate}');"
        )
    };
    format!(
        "{bid} {auction} {person}
        -- A windowed top list: the auctions with the most bids, per 10 seconds of event time.
        CREATE MATERIALIZED VIEW hot_auctions AS
            SELECT window_start, auction, count(*) AS bids, max(price) AS top_price
            FROM tumble(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, auction;
        -- A join: what is sold in three states, and by whom.
        CREATE MATERIALIZED VIEW local_sales AS
            SELECT a.id AS auction, p.name, p.city, p.state, a.category
            FROM auction a JOIN person p ON a.seller = p.id WHERE p.state IN ('OR', 'ID', 'CA');
        -- A running total.
        CREATE MATERIALIZED VIEW turnover AS
            SELECT count(*) AS bids, sum(price) AS total_price, avg(price) AS mean_price FROM bid;
        -- A filter.
        CREATE MATERIALIZED VIEW big_bids AS SELECT auction, bidder, price, date_time FROM bid WHERE price > 50000000;",
        bid = source("bid", "Bid"),
        auction = source("auction", "Auction"),
        person = source("person", "Person"),
    )
}

/// The view that is drawn.
const SHOWN: &str = "SELECT window_start, auction, bids, top_price FROM hot_auctions \
                     ORDER BY window_start DESC, bids DESC, auction LIMIT 10";

/// Rows of every view.
const COUNTS: &str = "SELECT (SELECT count(*) FROM hot_auctions) AS hot_auctions, \
                      (SELECT count(*) FROM local_sales) AS local_sales, \
                      (SELECT bids FROM turnover) AS bids_seen, \
                      (SELECT count(*) FROM big_bids) AS big_bids";

pub(super) async fn run(arguments: DemoArguments) -> Result<(), CliError> {
    let listener = listen_near(arguments.port).await?;
    let address = listener.local_address().map_err(CliError::new)?;
    let engine = Engine::open(EngineConfig::new("memory://")).await.map_err(CliError::new)?;
    let mut client = Client::new(&engine);
    client.command(&definitions(arguments.rate)).await.map_err(failed)?;
    let (stop_screen, screen_stopped) = tokio::sync::oneshot::channel();
    let screen = tokio::spawn(async move {
        let shown = draw(client, address, arguments.lasts).await;
        // Nobody waits any more if the server has ended before.
        let _ended = stop_screen.send(());
        shown
    });
    let stop = async {
        tokio::select! {
            () = stop_signal() => {}
            _ = screen_stopped => {}
        }
    };
    until_ended(engine, listener, stop).await?;
    if screen.is_finished() {
        return screen.await.map_err(CliError::new)?.map_err(failed);
    }
    screen.abort();
    Ok(())
}

fn failed(error: SqlError) -> CliError {
    CliError::new(format!("the demo failed: {error}"))
}

/// Listens on the port, or on a free one if it is taken.
async fn listen_near(port: u16) -> Result<Listener, CliError> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match listen(address(port), WireConfig::default()).await {
        Err(ListenError::Unavailable { error, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
            eprintln!("port {port} is taken, using a free one");
            listen(address(0), WireConfig::default()).await.map_err(CliError::new)
        }
        outcome => outcome.map_err(CliError::new),
    }
}

/// Draws until the time is up; for ever without one.
async fn draw(mut client: Client, address: SocketAddr, lasts: Option<Duration>) -> Result<(), SqlError> {
    let terminal = io::stdout().is_terminal();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(REFRESH);
    let mut drawn_lines = 0;
    let mut before: Option<(Instant, f64)> = None;
    // The first tick is at once: there is nothing to see yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let top = client.query(SHOWN).await?;
        let counts = client.query(COUNTS).await?;
        let bids = number(&counts, 2);
        let rate = before.map_or(0.0, |(at, earlier)| (bids - earlier) / at.elapsed().as_secs_f64());
        before = Some((Instant::now(), bids));
        let last = lasts.is_some_and(|lasts| started.elapsed() >= lasts);
        let text = if terminal || last { screen_text(&top, &counts, rate, address) } else { line_text(&counts, rate) };
        // Nobody reads any more: the server goes on until it is stopped.
        let mut out = io::stdout().lock();
        let erase = if terminal && drawn_lines > 0 { format!("\x1b[{drawn_lines}A\x1b[J") } else { String::new() };
        if write!(out, "{erase}{text}").and_then(|()| out.flush()).is_err() || last {
            return Ok(());
        }
        drawn_lines = text.lines().count();
    }
}

fn number(rows: &TextRows, column: usize) -> f64 {
    rows.rows.first().and_then(|row| row[column].as_ref()?.parse().ok()).unwrap_or(0.0)
}

fn line_text(counts: &TextRows, rate: f64) -> String {
    let names = counts.schema.fields().iter().map(|field| field.name());
    let pairs: Vec<String> = names
        .zip(counts.rows.iter().flatten())
        .map(|(name, value)| format!("{name} {}", value.as_deref().unwrap_or("-")))
        .collect();
    format!("{}, {rate:.0} bids/s\n", pairs.join(", "))
}

fn screen_text(top: &TextRows, counts: &TextRows, rate: f64, address: SocketAddr) -> String {
    let mut text = Vec::new();
    text.extend_from_slice(b"hot_auctions: bids per auction and 10 seconds of event time, newest first\n\n");
    table::write(&mut text, top, Format::Table).expect("a vector takes everything");
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(&format!("\nrows: {}", line_text(counts, rate)));
    text.push_str(&format!("\nconnect:  psql -h {} -p {}\n", address.ip(), address.port()));
    text.push_str(
        "try:      SELECT * FROM turnover;          again: it has moved on\n          \
         SELECT state, count(*) FROM local_sales GROUP BY state;\n          \
         CREATE MATERIALIZED VIEW mine AS SELECT channel, count(*) FROM bid GROUP BY channel;\n          \
         EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT auction, max(price) FROM bid GROUP BY auction;\n\
         Ctrl-C ends it.\n",
    );
    text
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" is not a time such as 10s, 500ms or 2m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("unknown unit \"{unit}\": use ms, s or m")),
    }
}
