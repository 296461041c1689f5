//! What a linter cannot see: which crate may know which, one version of what moves together, headers, sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

/// Lines that a file may have.
const FILE_LINES_MAX: usize = 800;

/// The folders at the top, beside the crates.
const OTHER_FOLDERS: [&str; 4] = ["benchmarks", "deploy", "docs", "target"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        // Cargo fetches what this platform needs, and no more: without the filter a fresh machine lacks packages.
        .other_options(["--locked", "--offline", "--filter-platform", "host-tuple"].map(str::to_string).to_vec())
        .exec()
        .unwrap()
}

/// Our crates, and which of them each may depend on outside its tests.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        ("millstream-runtime", BTreeSet::new()),
        ("millstream-planner", BTreeSet::from(["millstream-runtime"])),
        ("millstream-connectors", BTreeSet::from(["millstream-runtime"])),
        ("millstream", BTreeSet::from(["millstream-runtime", "millstream-planner", "millstream-connectors"])),
        // Tests see everything; nothing depends on them.
        (
            "millstream-sql-tests",
            BTreeSet::from(["millstream", "millstream-runtime", "millstream-planner", "millstream-connectors"]),
        ),
    ])
}

#[test]
fn crates_know_only_those_below_them() {
    let allowed = allowed();
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    assert_eq!(packages.len(), allowed.len(), "a crate was added: say here whom it may know");
    for package in packages {
        let may = &allowed[package.name.as_str()];
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            let name = dependency.name.as_str();
            if allowed.contains_key(name) {
                assert!(may.contains(name), "{} must not depend on {name}", package.name);
            }
        }
    }
}

#[test]
fn what_moves_together_is_there_once() {
    let metadata = metadata();
    for name in ["arrow", "arrow-array", "datafusion", "object_store", "pgwire", "sqlparser", "parquet"] {
        let versions: Vec<String> = metadata
            .packages
            .iter()
            .filter(|package| package.name.as_str() == name)
            .map(|package| package.version.to_string())
            .collect();
        assert_eq!(versions.len(), 1, "{name} is there in versions {versions:?}");
    }
}

#[test]
fn versions_stand_in_the_workspace_only() {
    for member in ["runtime", "planner", "connectors", "server", "sql-tests"] {
        let text = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let in_dependencies = text.lines().skip_while(|line| !line.ends_with("dependencies]"));
        for line in in_dependencies.filter(|line| line.contains('=')) {
            assert!(
                line.contains(".workspace = true")
                    || line.contains("workspace = true")
                    || line.starts_with("name")
                    || line.starts_with("path")
                    || line.starts_with("harness"),
                "{member}/Cargo.toml names a version itself: {line}"
            );
        }
    }
}

/// Every Rust file of ours.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["runtime", "planner", "connectors", "server", "sql-tests", "benchmarks"]
        .map(|name| root().join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the walk found {} files", files.len());
    files
}

#[test]
fn files_open_with_a_header_and_stay_short() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display();
        if !text.starts_with("//! ") {
            wrong.push(format!("{name} does not open with what is true of it"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{name} has {lines} lines, at most {FILE_LINES_MAX} are allowed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let marks = [["to", "do!("], ["unimple", "mented!("], ["TO", "DO"], ["FIX", "ME"], ["thread::", "sleep"]];
    let marks = marks.map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                wrong.push(format!("{}:{}: {mark}", path.strip_prefix(root()).unwrap().display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_folders_at_the_top_are_the_known_ones() {
    let crates = ["connectors", "planner", "runtime", "server", "sql-tests"];
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        let known = crates.contains(&name.as_str())
            || OTHER_FOLDERS.contains(&name.as_str())
            || name.starts_with('.')
            || name == "millstream-data";
        assert!(known, "what is the folder {name} for?");
    }
}
