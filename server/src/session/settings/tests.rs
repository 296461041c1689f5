//! What is set is checked, kept, shown and put back as Postgres does. The values and errors were taken from a
//! Postgres 15.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn known_settings_have_sorted_names_and_defaults_that_they_accept() {
    assert!(KNOWN.is_sorted_by_key(|known| known.name));
    for known in KNOWN.iter().filter(|known| !matches!(known.accepts, Accepts::ReadOnly)) {
        assert_eq!(known.checked(known.default).unwrap(), known.default, "{}", known.name);
    }
}

#[test]
fn values_are_shown_in_one_form() {
    let mut settings = Settings::default();
    for (name, value, shown) in [
        ("statement_timeout", "5s", "5s"),
        ("statement_timeout", "5000", "5s"),
        ("statement_timeout", "5001", "5001ms"),
        ("statement_timeout", "1.5s", "1500ms"),
        ("statement_timeout", "90 s", "90s"),
        ("statement_timeout", "120s", "2min"),
        ("statement_timeout", "400us", "0"),
        ("statement_timeout", "600us", "1ms"),
        ("statement_timeout", "1d", "1d"),
        ("statement_timeout", "0x10", "16ms"),
        ("statement_timeout", "1e3", "1s"),
        ("statement_timeout", "1.5", "2ms"),
        ("work_mem", "64MB", "64MB"),
        ("work_mem", "65536", "64MB"),
        ("extra_float_digits", "1.6", "2"),
        ("row_security", "tr", "on"),
        ("row_security", "of", "off"),
        ("client_min_messages", "INFO", "info"),
        ("DateStyle", "German", "German, DMY"),
        ("DateStyle", "ymd", "German, YMD"),
        ("DateStyle", "iso, european", "ISO, DMY"),
        ("DateStyle", "us", "ISO, MDY"),
        ("DateStyle", "postgres,default", "Postgres, MDY"),
        ("client_encoding", "utf-8", "UTF8"),
        ("standard_conforming_strings", "true", "on"),
        ("default_transaction_isolation", "Repeatable Read", "repeatable read"),
        ("TimeZone", "europe/berlin", "Europe/Berlin"),
        ("TimeZone", "utc+3", "UTC+3"),
        ("TimeZone", "5", "<+05>-05"),
        ("TimeZone", "-3.5", "<-03:30>+03:30"),
        ("synchronous_commit", "false", "off"),
    ] {
        settings.set(name, Some(value), false).unwrap();
        assert_eq!(settings.get(name).as_deref(), Some(shown), "{name} = {value}");
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_right() {
    let mut settings = Settings::default();
    for (name, value, code, message, more) in [
        ("statement_timeout", "soon", "22023", "invalid value for parameter \"statement_timeout\": \"soon\"", None),
        (
            "statement_timeout",
            "-1",
            "22023",
            "-1 ms is outside the valid range for parameter \"statement_timeout\" (0 .. 2147483647)",
            None,
        ),
        (
            "statement_timeout",
            "5 fortnights",
            "22023",
            "invalid value for parameter \"statement_timeout\": \"5 fortnights\"",
            Some("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."),
        ),
        (
            "statement_timeout",
            "30d",
            "22023",
            "invalid value for parameter \"statement_timeout\": \"30d\"",
            Some("Value exceeds integer range."),
        ),
        (
            "extra_float_digits",
            "4",
            "22023",
            "4 is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)",
            None,
        ),
        ("row_security", "maybe", "22023", "parameter \"row_security\" requires a Boolean value", None),
        ("row_security", "o", "22023", "parameter \"row_security\" requires a Boolean value", None),
        (
            "client_min_messages",
            "fatal",
            "22023",
            "invalid value for parameter \"client_min_messages\": \"fatal\"",
            Some("Available values: debug5, debug4, debug3, debug2, debug1, log, notice, warning, error."),
        ),
        (
            "DateStyle",
            "ISO, SQL",
            "22023",
            "invalid value for parameter \"DateStyle\": \"ISO, SQL\"",
            Some("Conflicting \"datestyle\" specifications."),
        ),
        (
            "DateStyle",
            "foo",
            "22023",
            "invalid value for parameter \"DateStyle\": \"foo\"",
            Some("Unrecognized key word: \"foo\"."),
        ),
        (
            "TimeZone",
            "170",
            "22023",
            "invalid value for parameter \"TimeZone\": \"170\"",
            Some("UTC timezone offset is out of range."),
        ),
        ("server_version", "17", "55P02", "parameter \"server_version\" cannot be changed", None),
        (
            "standard_conforming_strings",
            "off",
            "0A000",
            "parameter \"standard_conforming_strings\" cannot be turned off",
            None,
        ),
        ("millstream.clok", "x", "42602", "invalid configuration parameter name \"millstream.clok\"", None),
        ("a.b c", "1", "42602", "invalid configuration parameter name \"a.b c\"", None),
    ] {
        let error = settings.set(name, Some(value), false).unwrap_err();
        assert_eq!((error.sqlstate, error.message.as_str()), (code, message));
        if let Some(more) = more {
            assert_eq!(error.detail.as_deref().or(error.hint.as_deref()), Some(more));
        }
    }
    assert_eq!(settings.set("TimeZone", Some("Mars/Base"), false).unwrap_err().sqlstate, "22023");
    assert_eq!(settings.set("server_version", None, false).unwrap_err().sqlstate, "55P02");
}

#[test]
fn times_are_without_end_unless_they_are_set() {
    let mut settings = Settings::default();
    settings.set("statement_timeout", Some("1min"), false).unwrap();
    assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(60)));
    settings.set("statement_timeout", Some("0"), false).unwrap();
    assert_eq!(settings.statement_timeout(), None);
    settings.set("idle_session_timeout", Some("1500us"), false).unwrap();
    assert_eq!(settings.idle_timeout(false), Some(Duration::from_millis(2)));
    assert_eq!(settings.idle_timeout(true), None);
    assert_eq!(settings.checkpoint_interval(), Some(Duration::from_secs(10)));
}

#[test]
fn an_unknown_setting_is_kept_with_a_notice_and_a_custom_one_without() {
    let mut settings = Settings::default();
    let changed = settings.set("statement_timeot", Some("7"), false).unwrap();
    assert_eq!(changed.notices[0].hint.as_deref(), Some("Perhaps you meant the parameter \"statement_timeout\"."));
    assert_eq!(settings.get("statement_timeot").as_deref(), Some("7"));
    let changed = settings.set("some.driver_thing", Some("7"), false).unwrap();
    assert_eq!(changed.notices.len(), 0);
    assert_eq!(settings.get("some.driver_thing").as_deref(), Some("7"));
    assert_eq!(settings.get("some.other"), None);
    let error = settings.shown("tiemzone").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("Perhaps you meant to reference the parameter \"timezone\"."));
}

#[test]
fn rollback_and_local_put_values_back() {
    let mut settings = Settings::default();
    settings.begin();
    let changed = settings.set("time zone", Some("Europe/Berlin"), false).unwrap();
    assert_eq!(changed.reported, vec![("TimeZone".to_string(), "Europe/Berlin".to_string())]);
    assert_eq!(settings.end(false), vec![("TimeZone".to_string(), "UTC".to_string())]);

    settings.begin();
    settings.set("application_name", Some("a"), true).unwrap();
    settings.set("extra_float_digits", Some("3"), false).unwrap();
    settings.end(true);
    assert_eq!(settings.get("application_name").as_deref(), Some(""));
    assert_eq!(settings.get("extra_float_digits").as_deref(), Some("3"));

    let warned = settings.set("application_name", Some("a"), true).unwrap();
    assert_eq!(warned.notices[0].message, "SET LOCAL can only be used in transaction blocks");
    assert_eq!(settings.get("application_name").as_deref(), Some(""));
}

#[test]
fn a_savepoint_puts_values_back() {
    let mut settings = Settings::default();
    settings.begin();
    settings.set("timezone", Some("Europe/Berlin"), false).unwrap();
    let kept = settings.clone();
    settings.set("timezone", Some("Asia/Tokyo"), true).unwrap();
    assert_eq!(settings.put_back(kept), vec![("TimeZone".to_string(), "Europe/Berlin".to_string())]);
    assert_eq!(settings.end(true), Vec::new());
    assert_eq!(settings.get("timezone").as_deref(), Some("Europe/Berlin"));
}

#[test]
fn a_reset_goes_back_to_what_the_client_started_with() {
    let mut settings = Settings::default();
    settings.set_at_start("DateStyle", "German").unwrap();
    settings.set("datestyle", Some("ISO"), false).unwrap();
    let changed = settings.set("datestyle", None, false).unwrap();
    assert_eq!(changed.reported, vec![("DateStyle".to_string(), "German, DMY".to_string())]);
    settings.set("a.b", Some("1"), false).unwrap();
    settings.reset_all();
    assert_eq!(settings.get("a.b"), None);
    assert_eq!(settings.get("datestyle").as_deref(), Some("German, DMY"));
}

#[test]
fn the_search_path_reaches_the_planner() {
    let mut settings = Settings::default();
    settings.set("search_path", Some("\"$user\", \"Odd, \"\"one\", PUBLIC"), false).unwrap();
    assert_eq!(settings.plan().search_path, vec!["Odd, \"one", "public"]);
    settings.set("search_path", Some(""), false).unwrap();
    assert_eq!(settings.plan().search_path, Vec::<String>::new());
}

#[test]
fn messages_below_the_level_are_not_told() {
    let mut settings = Settings::default();
    let (notice, warning) = (Notice::plain("n"), Notice::warning(Condition::Warning, "w"));
    for (level, tells_notice, tells_warning) in
        [("notice", true, true), ("debug1", true, true), ("warning", false, true), ("error", false, false)]
    {
        settings.set("client_min_messages", Some(level), false).unwrap();
        assert_eq!((settings.tells(&notice), settings.tells(&warning)), (tells_notice, tells_warning), "{level}");
    }
}

#[test]
fn settings_are_listed_with_their_units_and_sources() {
    let mut settings = Settings::default();
    settings.set_at_start("application_name", "psql").unwrap();
    settings.set("statement_timeout", Some("2min"), false).unwrap();
    let all = settings.all();
    let find = |name: &str| all.iter().find(|row| row.name == name).unwrap();
    let timeout = find("statement_timeout");
    assert_eq!((timeout.shown.as_str(), timeout.setting.as_str(), timeout.unit), ("2min", "120000", Some("ms")));
    assert_eq!((timeout.source, timeout.boot.as_str(), timeout.type_name), ("session", "0", "integer"));
    assert_eq!(find("application_name").source, "client");
    assert_eq!(find("TimeZone").source, "default");
    assert_eq!(find("work_mem").setting, "4096");
    assert_eq!(find("server_version").context, "internal");
}
