//! `rcompose system df`

use serde_json::{Value, json};

use super::super::images::{created, or_none, short};
use crate::cli::context::Context;
use crate::cli::shape::{Form, Json, List, Shape};
use crate::ops::disk::{self, Disk, Used, What};
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

/// Titles and fields of columns.
type Columns = &'static [(&'static str, &'static str)];

const SUMMARY: Columns = &[
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
];
const IMAGES: Columns = &[
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
];
const CONTAINERS: Columns = &[("NAME", "Name"), ("IMAGE", "Image"), ("STATUS", "Status"), ("SIZE", "Size")];
const VOLUMES: Columns = &[("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];
const CACHE: Columns = &[("CACHE ID", "Name"), ("SIZE", "Size")];

/// Options of `system df`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Each image, container and volume
    #[arg(short, long)]
    verbose: bool,
    /// How it is printed.
    #[command(flatten)]
    form: Form,
}

impl Args {
    /// Prints it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let disk = disk::usage(&context.session())?;
        if self.verbose {
            return self.details(&disk);
        }
        let rows = summary(&disk);
        self.form.format.print(&List {
            rows,
            columns: SUMMARY,
            spacing: Spacing::CONTAINERS,
            json: Json::Lines,
        })?;
        if matches!(self.form.format, Shape::Table) {
            notes(&disk);
        }
        Ok(Exit::Success)
    }

    fn details(&self, disk: &Disk) -> Result<Exit, Report> {
        let images = disk.images.iter().map(|(item, image)| {
            json!({
                "Repository": or_none(&image.repository), "Tag": or_none(&image.tag), "ID": short(&image.id),
                "CreatedSince": created(image.created_ns), "Size": value::decimal_size(item.size),
                "SharedSize": value::decimal_size(item.shared),
                "UniqueSize": value::decimal_size(item.size.saturating_sub(item.shared)),
                "Containers": item.containers,
            })
        });
        let named = |used: &Used| {
            json!({
                "Name": used.name, "Image": used.image, "Links": used.links,
                "Status": if used.active { "running" } else { "not running" },
                "Size": value::decimal_size(used.size),
            })
        };
        let cache = disk.store.items.iter().filter_map(|item| match &item.what {
            What::Pin(name) => Some(json!({"Name": name, "Size": value::decimal_size(item.size)})),
            What::Image(_) => None,
        });
        let groups = [
            ("Images", "Images", images.collect::<Vec<Value>>(), IMAGES),
            ("Containers", "Containers", disk.containers.iter().map(named).collect(), CONTAINERS),
            ("Local Volumes", "Volumes", disk.volumes.iter().map(named).collect(), VOLUMES),
            ("Build Cache", "BuildCache", cache.collect(), CACHE),
        ];
        if !matches!(self.form.format, Shape::Table) {
            let whole = groups.into_iter().map(|(_, field, rows, _)| (field.to_owned(), rows.into()));
            let rows = vec![Value::Object(whole.collect())];
            let list = List { rows, columns: &[], spacing: Spacing::CONTAINERS, json: Json::Lines };
            self.form.format.print(&list)?;
            return Ok(Exit::Success);
        }
        for (title, _, rows, columns) in groups {
            console::out_line(&format!("{title}:\n"));
            self.form.format.print(&List {
                rows,
                columns,
                spacing: Spacing::CONTAINERS,
                json: Json::Lines,
            })?;
            console::out_line("");
        }
        notes(disk);
        Ok(Exit::Success)
    }
}

fn summary(disk: &Disk) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
        let percent = (reclaimable * 100).checked_div(size).unwrap_or(0);
        json!({
            "Active": active.to_string(), "Reclaimable": format!("{} ({percent}%)", value::decimal_size(reclaimable)),
            "Size": value::decimal_size(size), "TotalCount": total.to_string(), "Type": kind,
        })
    };
    let used = |kind: &str, all: &[Used]| {
        let size =
            |chosen: &dyn Fn(&Used) -> bool| all.iter().filter(|one| chosen(one)).map(|one| one.size).sum();
        let active = all.iter().filter(|one| one.active).count();
        row(kind, all.len(), active, size(&|_| true), size(&|one| !one.active))
    };
    let of = |pins: bool| {
        let is = move |what: &What| matches!(what, What::Pin(_)) == pins;
        let items: Vec<_> = disk.store.items.iter().filter(|item| is(&item.what)).collect();
        let active = items.iter().filter(|item| item.active).count();
        let unique: u64 = items.iter().map(|item| item.size.saturating_sub(item.shared)).sum();
        let idle: u64 =
            items.iter().filter(|item| !item.active).map(|item| item.size.saturating_sub(item.shared)).sum();
        (items.len(), active, unique, idle)
    };
    let (pins, active_pins, pinned, idle_pins) = of(true);
    let (images, active_images, ..) = of(false);
    let store = &disk.store;
    vec![
        // What the cache alone keeps is listed below; the rest is the images'.
        row(
            "Images",
            images,
            active_images,
            store.total.saturating_sub(pinned),
            store.reclaimable.saturating_sub(idle_pins),
        ),
        used("Containers", &disk.containers),
        used("Local Volumes", &disk.volumes),
        row("Build Cache", pins, active_pins, pinned, idle_pins),
    ]
}

fn notes(disk: &Disk) {
    let store = &disk.store;
    if store.leftovers > 0 {
        let size = value::decimal_size(store.leftovers);
        console::err_line(&format!(
            "{size} more belong to no image yet: what interrupted commands have downloaded or unpacked. The same command \
             goes on with it, `rcompose image prune` removes it"
        ));
    }
    let others: u64 = store.other_maps.iter().map(|(_, size)| size).sum();
    if others > 0 {
        let size = value::decimal_size(others);
        console::err_line(&format!(
            "{size} are layers of an id map that this user has no longer (see /etc/subuid); `rcompose system check` \
             removes them"
        ));
    }
}
