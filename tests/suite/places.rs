//! Where the content of images comes from besides their registry: storage services, mirrors, what is behind a proxy; and
//! registries that want us to wait, or that lead us where we must not go.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::pull::{Client, count, offer};
use crate::support::registry::{Access, PASSWORD, Registry};
use crate::support::{Capability, Ended, ended, needs};

/// Runs a command with settings of registries, and variables.
fn run(client: &Client, settings: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let config = client.project.path().join("config/containers");
    fs::create_dir_all(&config).expect("made");
    fs::write(config.join("registries.conf"), settings).expect("written");
    let mut command = client.command(arguments);
    command.env("XDG_CONFIG_HOME", client.project.path().join("config")).envs(variables.iter().copied());
    ended(command.spawn().expect("rcompose starts"), &format!("rcompose {}", arguments.join(" ")))
}

#[test]
fn who_one_is_stays_with_the_registry_when_it_redirects() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (registry, storage) = (Registry::start(Access::Basic), Registry::start(Access::Open));
    let client = Client::new("redirect", "");
    let image = offer(&registry, "app:1", 3, 1000);
    offer(&storage, "app:1", 3, 1000);
    registry.send_elsewhere(&format!("http://{}", storage.address));
    client.login(&registry, PASSWORD).ok();
    registry.asked();
    client.run(&["image", "pull", "-q", &image]).ok();
    let (asked, fetched) = (registry.asked(), storage.asked());
    assert_eq!(count(&asked, |it| it.status == 307 && it.authorized), 4, "{asked:?}");
    assert_eq!(count(&fetched, |it| it.status == 200), 4, "{fetched:?}");
    assert_eq!(count(&fetched, |it| it.authorized), 0, "{fetched:?}");
}

#[test]
fn a_registry_does_not_lead_to_files_nor_round_and_round() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let image = offer(&registry, "app:1", 1, 1000);
    let client = Client::new("astray", "");
    for (address, reason) in
        [("file:///etc/passwd?", "answered 307"), (&format!("http://{}", registry.address), "in a circle")]
    {
        registry.send_elsewhere(address);
        let said = client.run(&["image", "pull", "-q", &image]).fails(18);
        assert!(said.contains(reason), "{address}: {said}");
    }
    client.run(&["system", "check"]).ok();
}

#[test]
fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let image = offer(&registry, "app:1", 1, 1000);
    let client = Client::new("busy", "");
    registry.refuse(&[(429, "Retry-After: 1"), (503, "X: y"), (429, "Retry-After: 1")]);
    let begun = Instant::now();
    client.run(&["image", "pull", "-q", &image]).ok();
    assert!(begun.elapsed() >= Duration::from_secs(2), "it has waited as long as it was asked to");
    assert_eq!(count(&registry.asked(), |it| it.path.contains("/manifests/")), 4);
    registry.refuse(&[(429, "Retry-After: 3600")]);
    let said = client.run(&["image", "pull", "-q", &image]).fails(18);
    assert!(said.contains("try again in 3600 s"), "{said}");
}

#[test]
fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (registry, mirror) = (Registry::start(Access::Open), Registry::start(Access::Open));
    let gone = crate::support::free_port();
    let image = offer(&registry, "app:1", 2, 1000);
    let client = Client::new("mirrors", "");
    let settings = |mirrors: &[&str]| {
        let mut text = format!("[[registry]]\nlocation = \"{}\"\n", registry.address);
        mirrors.iter().for_each(|it| text += &format!("[[registry.mirror]]\nlocation = \"{it}\"\n"));
        text
    };
    let mirrored = settings(&[&format!("127.0.0.1:{gone}"), &mirror.address]);
    // The mirror has nothing yet.
    run(&client, &mirrored, &[], &["image", "pull", "-q", &image]).ok();
    assert!(count(&mirror.asked(), |it| it.status == 404) > 0 && !registry.asked().is_empty());
    client.run(&["rmi", &image]).ok();
    offer(&mirror, "app:1", 2, 1000);
    run(&client, &mirrored, &[], &["image", "pull", "-q", &image]).ok();
    assert!(count(&mirror.asked(), |it| it.status == 200) > 3);
    assert_eq!(registry.asked().len(), 0, "all was in the mirror");
    let blocked = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", registry.address);
    let said = run(&client, &blocked, &[], &["image", "pull", "-q", &image]).fails(18);
    assert!(said.contains("blocked"), "{said}");
}

/// A proxy that leads everybody to one address, whatever is asked for. Returns its own and what it was asked for.
fn proxy(to: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (to, log) = (to.to_owned(), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (to, log) = (to.clone(), Arc::clone(&log));
            std::thread::spawn(move || pass_on(stream, &to, &log));
        }
    });
    (address, asked)
}

fn pass_on(mut client: TcpStream, to: &str, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut server = TcpStream::connect(to).ok()?;
    let mut first = [0; 2048];
    let mut length = client.read(&mut first).ok()?;
    let note = |text: String| log.lock().expect("no panic").push(text);
    if first[0] == 5 {
        // SOCKS 5 (RFC 1928): no authentication, then CONNECT to a name or an address.
        client.write_all(&[5, 0]).ok()?;
        length = client.read(&mut first).ok()?;
        note(format!("socks {}", String::from_utf8_lossy(&first[5..length - 2])));
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    } else {
        // A request in plain has the whole address in its first line; the server wants the path alone.
        let head = String::from_utf8_lossy(&first[..length]).into_owned();
        note(head.lines().next()?.to_owned());
        let (method, rest) = head.split_once(' ')?;
        if method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 X\r\n\r\n").ok()?;
        } else {
            let path = rest.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
            server.write_all(format!("{method} {}", path.unwrap_or(rest)).as_bytes()).ok()?;
        }
    }
    let (mut from, mut into) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut into));
    std::io::copy(&mut server, &mut client).ok()?;
    client.shutdown(std::net::Shutdown::Both).ok()
}

#[test]
fn a_proxy_is_asked_for_what_is_not_this_machine() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let here = offer(&registry, "app:1", 1, 1000);
    // A name that only the proxy knows, and that needs no HTTPS.
    let far = "registry.test:5000/app:1";
    let settings = "[[registry]]\nlocation = \"registry.test:5000\"\ninsecure = true\n";
    let client = Client::new("proxies", "");
    for (variable, scheme, expected) in [
        ("http_proxy", "http", "GET http://registry.test:5000/"),
        ("all_proxy", "socks5h", "socks registry.test"),
    ] {
        let (address, asked) = proxy(&registry.address);
        let url = format!("{scheme}://{address}");
        run(&client, settings, &[(variable, &url)], &["image", "pull", "-q", far]).ok();
        let log = std::mem::take(&mut *asked.lock().expect("no panic"));
        assert!(log.iter().any(|line| line.starts_with(expected)), "{log:?}");
        run(&client, settings, &[(variable, &url)], &["image", "pull", "-q", &here]).ok();
        assert_eq!(asked.lock().expect("no panic").len(), 0, "this machine is not asked for at a proxy");
        client.run(&["rmi", "-f", far, &here]).ok();
    }
}
