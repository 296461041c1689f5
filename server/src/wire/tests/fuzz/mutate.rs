//! Recordings of real clients, and what is done to them.

use rand::Rng;
use rand::rngs::StdRng;

/// What clients of Postgres sent over one connection, from the startup packet to Terminate.
pub(super) const RECORDINGS: [&[u8]; 4] = [
    include_bytes!("../recordings/psql.bin"),
    include_bytes!("../recordings/pgbench.bin"),
    include_bytes!("../recordings/psycopg.bin"),
    include_bytes!("../recordings/asyncpg.bin"),
];

/// Numbers at which lengths and counts go wrong.
const EDGES: [i32; 12] = [0, 1, -1, 3, 4, 5, 8, 0x7f, 0xffff, 1 << 26, i32::MAX, i32::MIN];

const TAGS: &[u8] = b"QPBDECHSXFpdcfz";

/// A conversation: mostly a mutated recording, else messages that are made up.
pub(super) fn conversation(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = match random.random_range(0..8) {
        0 => made_up(random),
        1 => [excerpt(random), made_up(random), excerpt(random)].concat(),
        2 => [RECORDINGS[random.random_range(0..4)].to_vec(), made_up(random)].concat(),
        _ => excerpt(random),
    };
    let mutations = random.random_range(0..6);
    for _ in 0..mutations {
        mutate(&mut bytes, random);
    }
    bytes
}

/// A part of a recording, often from its beginning.
fn excerpt(random: &mut StdRng) -> Vec<u8> {
    let recording = RECORDINGS[random.random_range(0..RECORDINGS.len())];
    let from = if random.random_bool(0.7) { 0 } else { random.random_range(0..recording.len()) };
    // Long ones are rare: most of what can go wrong goes wrong early.
    let most = if random.random_bool(0.2) { recording.len() - from } else { 600.min(recording.len() - from) };
    recording[from..from + random.random_range(0..=most)].to_vec()
}

/// Messages with a right frame around a body of chance.
pub(super) fn made_up(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..8) {
        bytes.push(TAGS[random.random_range(0..TAGS.len())]);
        let mut body: Vec<u8> = Vec::new();
        for _ in 0..random.random_range(0..6) {
            match random.random_range(0..5) {
                0 => body.extend(b"SELECT $1\0"),
                1 => body.push(0),
                2 => body.extend(u16::from(random.random::<u8>() % 4).to_be_bytes()),
                3 => body.extend(EDGES[random.random_range(0..EDGES.len())].to_be_bytes()),
                _ => body.extend((0..random.random_range(0..12)).map(|_| random.random::<u8>())),
            }
        }
        bytes.extend((body.len() as i32 + 4).to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

/// One change at a place of chance.
pub(super) fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.is_empty() {
        bytes.push(random.random());
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..7) {
        0 => bytes[at] = random.random(),
        1 => bytes[at] ^= 1 << random.random_range(0..8),
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, random.random()),
        4 => bytes.truncate(at),
        5 => {
            let edge = EDGES[random.random_range(0..EDGES.len())].to_be_bytes();
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&edge[..end - at]);
        }
        _ => {
            let end = (at + random.random_range(0..64)).min(bytes.len());
            let copied = bytes[at..end].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, copied);
        }
    }
}
