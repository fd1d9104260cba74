//! The image store under SIGKILL and on a full disk: what was interrupted is never seen, and never in the way.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::pull::Client;
use crate::support::registry::{Access, Registry, layer, noise};
use crate::support::{Capability, ended, needs, processes_of, soon};

/// What the budget lets the store take: less than all images together.
const BUDGET: u64 = 7_000_000;

/// The same sequence for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator; its upper bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Store {
    client: Client,
    images: Vec<String>,
    archive: String,
}

impl Store {
    /// A registry's images, one of them in an archive as well, and an empty store.
    fn new(registry: &Registry) -> Store {
        let files = |seed: u64| {
            (0..150)
                .map(|number| (format!("{seed}/{number}"), noise(4000, seed * 1000 + number)))
                .collect::<Vec<_>>()
        };
        let base = layer(&files(1));
        let images = (2..6u64)
            .map(|seed| {
                registry.offer(
                    &format!("app{seed}:1"),
                    &[base.clone(), layer(&files(seed)), layer(&files(seed + 10))],
                )
            })
            .collect::<Vec<_>>();
        let client = Client::new("imagekill", "");
        client.run(&["image", "pull", "-q", &images[0]]).ok();
        client.run(&["save", "-o", "one.tar", &images[0]]).ok();
        client.run(&["rmi", "-f", &images[0]]).ok();
        Store { client, images, archive: "one.tar".to_owned() }
    }

    fn any(&self, chance: &mut Chance) -> &str {
        &self.images[chance.below(self.images.len() as u64) as usize]
    }

    /// One of the commands that change the store.
    fn start(&self, chance: &mut Chance) -> Child {
        let arguments = match chance.below(8) {
            0..3 => vec!["image", "pull", "-q", self.any(chance)],
            3..5 => vec!["load", "-q", "-i", &self.archive],
            5 => vec!["image", "prune", "-a", "-f"],
            6 => vec!["rmi", "-f", self.any(chance)],
            _ => vec!["system", "check"],
        };
        let mut command = self.client.command(&arguments);
        command.process_group(0).spawn().expect("rcompose starts")
    }

    fn directory(&self) -> std::path::PathBuf {
        self.client.project.home().join("data/images")
    }

    /// What interrupted commands have left and nobody has cleared.
    fn remains(&self) -> Vec<String> {
        let layers = fs::read_dir(self.directory().join("layers")).into_iter().flatten().flatten();
        let mut directories: Vec<_> = layers.map(|entry| entry.path()).collect();
        directories.push(self.directory().join("blobs/sha256"));
        let names =
            directories.iter().flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with('.'))
            .collect()
    }

    fn bytes(&self) -> u64 {
        let json = self.client.run(&["system", "df", "--format", "json"]).ok();
        let images = json.lines().next().expect("a line of images");
        let images: serde_json::Value = serde_json::from_str(images).expect("an object");
        let size = images["Size"].as_str().expect("a size");
        let digits = size.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        let unit = match &size[digits.len()..] {
            "B" => 1.0,
            "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            other => panic!("the unit {other}"),
        };
        (digits.parse::<f64>().expect("a number") * unit) as u64
    }
}

/// `RCOMPOSE_TEST_IMAGE_KILLS` sets how many instants are tried, `RCOMPOSE_TEST_SEED` which.
#[test]
fn two_commands_killed_at_any_instant_leave_a_store_that_is_whole() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let instants = number("RCOMPOSE_TEST_IMAGE_KILLS", 8);
    let seed = number("RCOMPOSE_TEST_SEED", 1);
    let mut chance = Chance(seed);
    let registry = Registry::start(Access::Open);
    let store = Store::new(&registry);
    store.client.run(&["system", "budget", &BUDGET.to_string()]).ok();
    for instant in 0..instants {
        let what = || format!("instant {instant} of seed {seed}");
        registry.pause((chance.below(3) == 0).then_some(Duration::from_millis(2)));
        let children: Vec<Child> = (0..2).map(|_| store.start(&mut chance)).collect();
        std::thread::sleep(Duration::from_micros(chance.below(400_000)));
        for mut child in children {
            // The command and its worker; it may have ended by itself.
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            child.wait().expect("ended");
        }
        registry.pause(None);
        let wanted = store.any(&mut chance);
        let next = store.client.run(&["image", "pull", "-q", wanted]);
        assert_eq!(next.code, Some(0), "{}: {}", what(), next.stderr);
        let checked = store.client.run(&["system", "check", "--format", "json"]);
        let found: serde_json::Value = serde_json::from_str(&checked.stdout).expect("an object");
        assert!(checked.code == Some(0) && found["findings"] == serde_json::json!([]), "{}: {found}", what());
        soon("the killed have gone", || processes_of(&store.client.project).is_empty());
        assert_eq!(store.remains(), Vec::<String>::new(), "{}", what());
        assert!(store.bytes() <= BUDGET, "{}: {} bytes are more than the budget", what(), store.bytes());
    }
    store.client.run(&["image", "prune", "-a", "-f"]).ok();
    assert_eq!(store.bytes(), 0, "all can be had back");
}

/// In a mount namespace of its own, with a small file system of memory in place of the state directory.
#[test]
fn a_full_disk_is_said_and_everything_goes_on_when_there_is_room() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let big = registry.offer("big:1", &[layer(&[("noise".into(), noise(6 << 20, 1))])]);
    let small = registry.offer("small:1", &[layer(&[("noise".into(), noise(1 << 20, 2))])]);
    let client = Client::new("full", "");
    let rcompose = crate::support::binary();
    let rcompose = rcompose.to_str().expect("a path");
    // Each step says what it is, and the code of its command.
    let script = format!(
        r#"
        mkdir -p "$RCOMPOSE_HOME" && mount -t tmpfs -o size=40m,mode=700 none "$RCOMPOSE_HOME" || exit 77
        head -c 32505856 /dev/zero >"$RCOMPOSE_HOME/ballast" || exit 77
        step() {{ name=$1; shift; "$@" >out 2>&1; echo "$name $?"; cat out; }}
        step small {rcompose} image pull -q {small}
        step big {rcompose} image pull -q {big}
        step check {rcompose} system check
        step list {rcompose} image ls -q
        dd if=/dev/zero of="$RCOMPOSE_HOME/filler" bs=4k >/dev/null 2>&1
        step full {rcompose} image pull -q {big}
        step read {rcompose} image inspect {small}
        rm "$RCOMPOSE_HOME/filler"
        step remove {rcompose} rmi -f {small}
        rm "$RCOMPOSE_HOME/ballast"
        step again {rcompose} image pull -q {big}
        step last {rcompose} system check
        "#
    );
    let mut command = client.command(&[]);
    let environment: Vec<(std::ffi::OsString, std::ffi::OsString)> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = std::process::Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .envs(environment)
        .current_dir(client.project.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let said = ended(command.spawn().expect("unshare starts"), "a full disk");
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let said = said.stdout;
    for line in
        ["small 0", "big 18", "check 0", "list 0", "full 18", "read 0", "remove 0", "again 0", "last 0"]
    {
        assert!(said.lines().any(|found| found == line), "{line} is missing in {said}");
    }
    assert!(said.contains("No space left on device") && said.contains("make room on the disk"), "{said}");
    assert_eq!(said.matches("everything is as it should be\n").count(), 2, "{said}");
}
