//! What is told of a run: text for people, JUnit's XML for machines.

use std::fmt::Write;
use std::time::Duration;

use super::FileReport;

/// The failures of a file, each with its place, ready to print; empty when it passed.
pub fn summary(report: &FileReport) -> String {
    let mut text = String::new();
    for failure in &report.failures {
        let _ = writeln!(text, "{}: {}\n", failure.location, failure.message.trim_end());
    }
    text
}

/// A run as JUnit's XML: one suite, one test case per file.
pub fn junit(reports: &[FileReport], elapsed: Duration) -> String {
    let failed = reports.iter().filter(|report| !report.passed()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, seconds) = (reports.len(), elapsed.as_secs_f64());
    let counts = format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\"");
    let _ = writeln!(xml, "<testsuites {counts}>\n  <testsuite name=\"millstream test\" {counts}>");
    for report in reports {
        let name = escaped(&report.path.display().to_string());
        let seconds = report.elapsed.as_secs_f64();
        let _ = write!(xml, "    <testcase classname=\"slt\" name=\"{name}\" time=\"{seconds:.3}\"");
        match report.failures.first() {
            None => xml.push_str("/>\n"),
            Some(first) => {
                let title = first.message.lines().next().unwrap_or_default();
                let title = escaped(&format!("{}: {title}", first.location));
                let text = escaped(&summary(report));
                let _ = writeln!(xml, ">\n      <failure message=\"{title}\">{text}</failure>\n    </testcase>");
            }
        }
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text for XML; what XML has no way to say becomes a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => escaped.push(letter),
            letter if letter.is_control() => escaped.push('?'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::Failure;
    use super::*;

    #[test]
    fn junit_names_files_and_the_first_failure() {
        let passed = FileReport {
            path: "a.slt".into(),
            record_count: 2,
            elapsed: Duration::from_millis(1500),
            failures: Vec::new(),
            updated: false,
        };
        let failure = Failure { location: "b.slt:3".to_string(), message: "1 < 2 & \u{1b}[31m".to_string() };
        let failed = FileReport { path: "b.slt".into(), failures: vec![failure], ..passed.clone() };
        let xml = junit(&[passed, failed], Duration::from_secs(2));
        assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\" errors=\"0\" time=\"2.000\">"), "{xml}");
        assert!(xml.contains("<testcase classname=\"slt\" name=\"a.slt\" time=\"1.500\"/>"), "{xml}");
        assert!(xml.contains("<failure message=\"b.slt:3: 1 &lt; 2 &amp; ?[31m\">"), "{xml}");
    }
}
