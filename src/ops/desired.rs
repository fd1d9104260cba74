//! From a project and its images to the complete wish: looks up what the pure half in `plan` needs to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::FileType;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Session;
use super::binds;
use super::images::image_of;
use super::kept;
use super::project::{self, Project};
use crate::host::limits;
use crate::host::userns::{Facts as HostFacts, Kind, Mapping};
use crate::image::Image;
use crate::plan::desired::{self, Desired, Facts, ImageFacts};
use crate::plan::fingerprint;
use crate::plan::unsupported::{self, Answer};
use crate::report::{Exit, Report};

/// How many errors are told at once.
const MOST_ERRORS: usize = 30;

/// Makes the wish of the services of `chosen`, and tells what of it has no effect here.
///
/// `images` are found by service; in a dry run some may be missing, which are then taken as empty.
pub fn desired(
    session: &Session<'_>,
    chosen: &Project,
    images: &BTreeMap<String, Image>,
) -> Result<Desired, Report> {
    let host = HostFacts::read().map_err(|error| Report::from_error(Exit::Host, &error))?;
    let single_id = Mapping::of(&host).kind == Kind::Single;
    let mut known = BTreeMap::new();
    for service in chosen.services.values() {
        let Some(name) = image_of(chosen, service)? else { continue };
        known.insert(name, image_facts(images.get(&service.name), single_id));
    }
    let mut facts = Facts {
        single_id,
        declared: project::declared(chosen),
        separator: session.separator,
        processes: limits::processes(),
        ..Facts::default()
    };
    look(&desired::needed_files(chosen), &mut facts);
    let (wish, warnings) =
        desired::desired(chosen, &known, &facts).map_err(|errors| placed_errors(chosen, errors))?;
    binds::check(chosen, &wish, &host)?;
    check_devices(chosen, &wish)?;
    if session.strict {
        let ineffective = warnings
            .iter()
            .map(|warning| placed(chosen, Report::new(Exit::File, warning.to_string()).about(&warning.path)));
        let all = ineffective.chain(kept::refusals(chosen, &wish)?);
        let mut all = all.map(|report| report.hint("leave it out, or run without `--strict`"));
        if let Some(first) = all.next() {
            return Err(first.and(all));
        }
    }
    for warning in warnings {
        let place = chosen.places.find(&warning.path);
        let place = place.map(|place| format!(" ({}:{}:{})", place.file, place.line, place.column));
        session.ears.warning(&format!("{warning}{}", place.unwrap_or_default()));
    }
    Ok(wish)
}

/// Refuses a device that is not there, or is none, before anything is made.
fn check_devices(project: &Project, wish: &Desired) -> Result<(), Report> {
    for service in wish.services.values() {
        for (index, device) in service.spec.devices.iter().enumerate() {
            let Err(refusal) = device_is_there(Path::new(&device.source)) else { continue };
            let message = format!("service `{}` asks for the device `{}`", service.name, device.source);
            let report = Report::new(Exit::File, message).cause(refusal);
            let place = format!("services.{}.devices.{index}.source", service.name);
            return Err(placed(project, report.about(place)).hint(
                "give the path that the device has on this machine, `/dev/…`; files and directories are for `volumes`",
            ));
        }
    }
    Ok(())
}

/// A device node, or a directory of them such as `/dev/dri`; else why it is none.
fn device_is_there(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("`{shown}` does not exist on this machine"),
        _ => format!("`{shown}` cannot be looked at: {error}"),
    })?;
    if is_node(metadata.file_type()) {
        return Ok(());
    }
    if !metadata.is_dir() {
        return Err(format!("`{shown}` is no device"));
    }
    match holds_a_node(path, 3) {
        true => Ok(()),
        false => Err(format!("`{shown}` is a directory without devices")),
    }
}

/// Whether there are devices in a directory, or not so far below it (`/dev/bus/usb/001/002`).
fn holds_a_node(directory: &Path, levels: u32) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => levels > 1 && holds_a_node(&path, levels - 1),
        Ok(metadata) => is_node(metadata.file_type()),
        Err(_) => false,
    })
}

fn is_node(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}

/// Shows where in the files the causes of errors stand. They come in the order of the lines, file by file.
fn placed_errors(project: &Project, errors: Vec<desired::Error>) -> Report {
    let mut reports: Vec<Report> = errors
        .into_iter()
        .map(|error| {
            let path = error.path();
            placed(project, path.into_iter().fold(error.into(), Report::about))
        })
        .collect();
    let files: Vec<String> =
        reports.iter().filter_map(|report| report.places.first()).map(|place| place.file.clone()).collect();
    reports.sort_by_key(|report| {
        let place = report.places.first();
        place.map(|place| (files.iter().position(|file| *file == place.file), place.line, place.column))
    });
    let more = reports.len().saturating_sub(MOST_ERRORS);
    let rest =
        (more > 0).then(|| Report::new(Exit::File, format!("{more} more errors were found; these first")));
    let mut reports = reports.into_iter().take(MOST_ERRORS).chain(rest);
    let first = reports.next().unwrap_or_else(|| Report::new(Exit::File, "the project cannot be wished for"));
    first.and(reports)
}

/// Shows where in the files the attributes stand that a report is about.
pub(super) fn placed(project: &Project, report: Report) -> Report {
    report.placed(&|path| {
        // What is run is the first word of the entrypoint, where a service has one.
        let entrypoint = path.strip_suffix(".command.0").map(|service| format!("{service}.entrypoint.0"));
        let written = entrypoint.filter(|path| project.places.is_written(path));
        project.places.find(written.as_deref().unwrap_or(path))
    })
}

/// What of the Compose Specification is not honoured here: the path of each attribute, and why.
pub fn not_honoured() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    unsupported::TABLE.iter().map(|entry| (entry.path, entry.reason, entry.answer == Answer::Refused))
}

fn image_facts(image: Option<&Image>, single_id: bool) -> ImageFacts {
    let Some(image) = image else { return ImageFacts::default() };
    ImageFacts {
        id: image.id.to_string(),
        config: image.config.clone(),
        layers: image.layers.clone(),
        host_userland: image.host_userland,
        passwd: if single_id { passwd(image) } else { None },
    }
}

/// The image's `/etc/passwd`: that of the highest layer that has one.
fn passwd(image: &Image) -> Option<String> {
    if image.host_userland {
        return std::fs::read_to_string("/etc/passwd").ok();
    }
    image.layers.iter().rev().find_map(|layer| {
        let path = layer.join("etc/passwd");
        // A link could lead out of the layer.
        path.symlink_metadata().ok().filter(|metadata| metadata.is_file())?;
        std::fs::read_to_string(path).ok()
    })
}

/// Reads files; of what cannot be read the wish says who needs it. What is no file is not read: a device may give bytes for
/// ever, a pipe wait for some.
fn look(paths: &BTreeSet<PathBuf>, facts: &mut Facts) {
    for path in paths {
        let read = match path.metadata() {
            Ok(found) if found.is_dir() => {
                facts.directories.insert(path.clone());
                continue;
            }
            Ok(found) if !found.is_file() => {
                Err("it is a device, a pipe or a socket, and no file".to_owned())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
            Ok(_) => std::fs::read(path).map_err(|error| error.to_string()),
        };
        match read {
            Ok(bytes) => _ = facts.files.insert(path.clone(), bytes),
            Err(reason) => _ = facts.unreadable.insert(path.clone(), reason),
        }
    }
}

/// The hash of what a service says, by service; none named is all.
pub fn hashes(project: &Project, named: &[String]) -> Result<Vec<(String, String)>, Report> {
    for service in named {
        project::require(project, service)?;
        if let Some(disabled) = project.disabled_services.get(service) {
            let report = Report::new(Exit::Failure, format!("service `{service}` is not active"));
            return Err(match disabled.profiles.first() {
                Some(profile) => report.hint(format!("activate it: `--profile {profile}`")),
                None => report,
            });
        }
    }
    let chosen =
        project.services.values().filter(|service| named.is_empty() || named.contains(&service.name));
    Ok(chosen.map(|service| (service.name.clone(), fingerprint::service(service))).collect())
}
