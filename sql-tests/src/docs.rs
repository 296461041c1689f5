//! The sections of `docs/postgres.md` that tests make: what stands between the markers `<!-- made by: NAME -->` and
//! `<!-- end: NAME -->` is what the test of that name has seen, to the byte.
//!
//! A test renders its table and hands it to [`check_section`]. A difference fails, so no cell of a table is older
//! than the last run of the tests. With `UPDATE_DOCS=1` in the environment the section is written instead; one that is
//! not there yet is put at the end of the page.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The page.
pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace").join("docs/postgres.md")
}

/// Holds the section of a name against what a test has rendered, or writes it (see above).
pub fn check_section(name: &str, rendered: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        // Other tests of this process and of others write their sections at the same time.
        let lock = File::open(page().parent().expect("a page stands in a folder")).unwrap();
        lock.lock().unwrap();
        let text = fs::read_to_string(page()).unwrap();
        fs::write(page(), with_section(&text, name, rendered)).unwrap();
        return;
    }
    let text = fs::read_to_string(page()).unwrap();
    let there = section(&text, name)
        .unwrap_or_else(|| panic!("docs/postgres.md has no section \"{name}\": run this test with UPDATE_DOCS=1"));
    let (there, rendered) = (there.trim_matches('\n'), rendered.trim_matches('\n'));
    if there != rendered {
        let pairs = there.lines().zip(rendered.lines());
        let line = pairs.take_while(|(old, new)| old == new).count();
        let shown = |text: &str| text.lines().nth(line).unwrap_or("(its end)").to_owned();
        panic!(
            "docs/postgres.md, section \"{name}\", differs from what the test sees, first in line {}:\n\
             the page: {}\nthe test: {}\nWhere the test is right, run it with UPDATE_DOCS=1.",
            line + 1,
            shown(there),
            shown(rendered),
        );
    }
}

/// What stands between the markers.
pub fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = markers(name);
    let start = text.find(&open)? + open.len();
    let end = start + text[start..].find(&close)?;
    Some(&text[start..end])
}

fn markers(name: &str) -> (String, String) {
    (format!("<!-- made by: {name} -->\n"), format!("<!-- end: {name} -->"))
}

/// The page with a section in place of the one of that name, or at its end.
fn with_section(text: &str, name: &str, rendered: &str) -> String {
    let (open, close) = markers(name);
    let rendered = rendered.trim_matches('\n');
    match section(text, name) {
        Some(old) => {
            let start = text.find(&open).expect("the section has just been found") + open.len();
            format!("{}\n{rendered}\n\n{}", &text[..start], &text[start + old.len()..])
        }
        None => format!("{}\n\n{open}\n{rendered}\n\n{close}\n", text.trim_end_matches('\n')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_put_in_replaced_and_found_again() {
        let page = "# Page\n\nProse.\n";
        let first = with_section(page, "types", "| a |\n|---|\n| 1 |\n");
        assert_eq!(
            first,
            "# Page\n\nProse.\n\n<!-- made by: types -->\n\n| a |\n|---|\n| 1 |\n\n<!-- end: types -->\n"
        );
        let both = with_section(&first, "errors", "x");
        let second = with_section(&both, "types", "| b |\n");
        assert_eq!(section(&second, "types").map(str::trim), Some("| b |"));
        assert_eq!(section(&second, "errors").map(str::trim), Some("x"));
        assert!(second.starts_with("# Page\n\nProse.\n\n<!-- made by: types -->\n\n| b |\n\n<!-- end: types -->\n"));
        assert_eq!(section(&second, "settings"), None);
        assert_eq!(with_section(&second, "types", "| b |"), second, "writing the same again changes nothing");
    }
}
