//! Where output goes: it is always kept here, whatever driver is asked for, or not at all.

use super::convert::Warning;
use super::error::Error;
use super::model::Logging;
use crate::compose::model::{ByteSize, Service};
use crate::report::nearest;

/// A driver of Docker's, and the options that it takes.
struct Driver {
    name: &'static str,
    /// Those that are honoured.
    honoured: &'static [&'static str],
    /// Those that say how lines look, which here are what was written and when.
    others: &'static [&'static str],
}

/// Drivers that keep logs on this machine, or none.
const OURS: [Driver; 3] = [
    Driver {
        name: "json-file",
        honoured: &["max-size", "max-file"],
        others: &["compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"],
    },
    Driver {
        name: "local",
        honoured: &["max-size", "max-file"],
        others: &["compress", "mode", "max-buffer-size"],
    },
    Driver { name: "none", honoured: &[], others: &[] },
];

/// Drivers that send logs elsewhere.
const ELSEWHERE: [&str; 10] = [
    "syslog",
    "journald",
    "gelf",
    "fluentd",
    "awslogs",
    "splunk",
    "gcplogs",
    "etwlogs",
    "logentries",
    "loki",
];

/// What Docker keeps of a log beside a driver that sends it elsewhere (`cache-max-size`, `cache-max-file`), and what
/// its driver `local` keeps.
const CACHE: (u64, u32) = (20 << 20, 5);

const KNOWN: &str = "json-file, local, none; in place of syslog, journald, gelf, fluentd, awslogs, splunk, gcplogs, \
                     etwlogs, logentries and loki, lines are kept as `json-file` does";

/// Whether a driver sends logs elsewhere. A plugin's name is that of an image.
pub(in crate::plan) fn sends_elsewhere(driver: &str) -> bool {
    ELSEWHERE.contains(&driver) || driver.contains(['/', ':'])
}

pub(super) fn logging(service: &Service, warnings: &mut Vec<Warning>) -> Result<Logging, Error> {
    let (name, options) = match &service.logging {
        None => ("", None),
        Some(logging) => (logging.driver.as_deref().unwrap_or_default(), Some(&logging.options)),
    };
    let name = if name.is_empty() { "json-file" } else { name };
    let driver = OURS.iter().find(|driver| driver.name == name);
    if driver.is_none() && !sends_elsewhere(name) {
        return Err(Error::Driver {
            path: format!("services.{}.logging.driver", service.name),
            driver: name.to_owned(),
            meant: nearest(name, OURS.iter().map(|driver| driver.name).chain(ELSEWHERE)),
            known: KNOWN,
        });
    }
    let (max_size, max_file) = match name {
        "json-file" | "none" => (None, None),
        _ => (Some(CACHE.0), Some(CACHE.1)),
    };
    let mut kept = Logging { keep: name != "none", max_size, max_file };
    for (option, value) in options.into_iter().flatten() {
        let bad = |expected| Error::value(service, format!("logging.options.{option}"), value, expected);
        // Whatever else a driver takes that sends logs elsewhere is named with it.
        let honoured = driver.map_or(&["cache-max-size", "cache-max-file"][..], |driver| driver.honoured);
        match option.as_str() {
            "max-size" | "cache-max-size" if honoured.contains(&option.as_str()) => {
                let size = ByteSize::parse(value).ok().and_then(ByteSize::limit).filter(|size| *size > 0);
                kept.max_size = Some(size.ok_or_else(|| bad("a size above 0, such as `10m`"))?);
            }
            "max-file" | "cache-max-file" if honoured.contains(&option.as_str()) => {
                let count = value.parse().ok().filter(|count| *count > 0);
                kept.max_file = Some(count.ok_or_else(|| bad("a number of files, at least 1"))?);
            }
            _ => warnings.extend(driver.map(|driver| Warning {
                path: format!("services.{}.logging.options.{option}", service.name),
                reason: without_effect(driver, option),
            })),
        }
    }
    // Without a size no file is ever full.
    if kept.max_file.is_some() && kept.max_size.is_none() {
        warnings.push(Warning {
            path: format!("services.{}.logging.options.max-file", service.name),
            reason: "a log is one file unless `max-size` says when the next one begins".to_owned(),
        });
    }
    Ok(kept)
}

fn without_effect(driver: &Driver, option: &str) -> String {
    if driver.others.contains(&option) {
        return "logs are kept as lines with their time, nothing else".to_owned();
    }
    let meant = nearest(option, driver.honoured.iter().chain(driver.others).copied());
    let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    format!("the driver `{}` has no such option{meant}", driver.name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_refused, refusal, try_wish};
    use super::*;
    use crate::report::Report;

    #[track_caller]
    fn check(logging: &str, expected: Logging, warned: &[&str]) {
        let yaml = format!("services: {{web: {{image: x, logging: {{{logging}}}}}}}");
        let (desired, warnings) = try_wish(&yaml).expect("it can be wished for");
        assert_eq!(desired.services["web"].logging, expected, "{logging}");
        let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said, warned, "{logging}");
    }

    const ALL: Logging = Logging { keep: true, max_size: None, max_file: None };
    const CACHED: Logging = Logging { keep: true, max_size: Some(20 << 20), max_file: Some(5) };

    #[test]
    fn what_is_kept_here() {
        check("", ALL, &[]);
        check(
            "driver: json-file, options: {max-size: 10m, max-file: '3'}",
            Logging { keep: true, max_size: Some(10 << 20), max_file: Some(3) },
            &[],
        );
        check(
            "options: {max-file: '3'}",
            Logging { max_file: Some(3), ..ALL },
            &[
                "services.web.logging.options.max-file has no effect: a log is one file unless `max-size` says when the \
               next one begins",
            ],
        );
        check("driver: local", CACHED, &[]);
        check("driver: local, options: {max-file: '2'}", Logging { max_file: Some(2), ..CACHED }, &[]);
        check("driver: none", Logging { keep: false, ..ALL }, &[]);
        check(
            "options: {tag: '{{.Name}}', max-sise: 1m}",
            ALL,
            &[
                "services.web.logging.options.tag has no effect: logs are kept as lines with their time, nothing else",
                "services.web.logging.options.max-sise has no effect: the driver `json-file` has no such option; did you \
                 mean `max-size`?",
            ],
        );
    }

    #[test]
    fn what_would_be_sent_elsewhere_is_kept_here_and_named_once() {
        const WHY: &str = "services.web.logging.driver has no effect: lines are kept on this machine as `json-file` does, \
                           and `rcompose logs` shows them; they are not sent elsewhere";
        for name in ELSEWHERE.into_iter().chain(["grafana/loki-docker-driver:latest"]) {
            check(
                &format!("driver: '{name}', options: {{syslog-address: 'udp://1.2.3.4:514', max-size: 1m}}"),
                CACHED,
                &[WHY],
            );
        }
        check(
            "driver: journald, options: {cache-max-size: 1m, cache-max-file: '3', tag: x}",
            Logging { keep: true, max_size: Some(1 << 20), max_file: Some(3) },
            &[WHY],
        );
    }

    #[test]
    fn drivers_that_nobody_has_and_values_that_mean_nothing() {
        let report = |driver: &str| {
            let yaml = format!("services: {{web: {{image: x, logging: {{driver: {driver}}}}}}}");
            let error = refusal(&yaml);
            assert_eq!(error.path().as_deref(), Some("services.web.logging.driver"));
            Report::from(error)
        };
        let near = report("sylog");
        assert_eq!(near.message, "services.web.logging.driver: driver `sylog` is not available");
        assert_eq!(near.hints[0], "did you mean `syslog`?");
        assert_eq!(report("json-fil").hints[0], "did you mean `json-file`?");
        assert!(report("nonsense").hints[0].starts_with("available: json-file, local, none; "));
        let size = "a size above 0, such as `10m`";
        let count = "a number of files, at least 1";
        for (option, value, expected) in [
            ("max-size", "lots", size),
            ("max-size", "0", size),
            ("max-size", "-1", size),
            ("max-file", "0", count),
            ("max-file", "-3", count),
        ] {
            check_refused(
                &format!("logging: {{options: {{{option}: '{value}'}}}}"),
                &format!("services.web.logging.options.{option}: `{value}` is not {expected}"),
            );
        }
    }
}
