//! Who reaches whom, and what a container finds in its namespace.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::*;

fn connect(address: &str) -> Result<(), ErrorKind> {
    connect_within(address, PATIENCE)
}

fn connect_within(address: &str, patience: Duration) -> Result<(), ErrorKind> {
    let address: SocketAddr = address.parse().expect("an address");
    TcpStream::connect_timeout(&address, patience).map(drop).map_err(|error| error.kind())
}

#[test]
fn networks_reach_within_and_not_across() {
    in_namespaces("places::networks_reach_within_and_not_across", || async {
        let networks = start();
        let kept = networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        networks.create(network("data", "10.2.0.0/24")).await.expect("a network");
        let mut hidden = network("hidden", "10.3.0.0/24");
        hidden.internal = true;
        networks.create(hidden).await.expect("a network");
        drop(kept);
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let both = [on("edge", "10.1.0.3", &["api"], true), on("data", "10.2.0.3", &["api"], false)];
        let api = container(&networks, "api", &both).await;
        let db = container(&networks, "db", &[on("data", "10.2.0.4", &["db"], true)]).await;
        let vault = container(&networks, "vault", &[on("hidden", "10.3.0.2", &["vault"], false)]).await;
        // They listen for as long as the test runs.
        for namespace in [&web, &api, &db] {
            let listener =
                inside(namespace, || TcpListener::bind("0.0.0.0:80")).await.expect("port 80 is anyone's");
            std::mem::forget(listener);
        }
        assert_eq!(inside(&web, || connect("10.1.0.3:80")).await, Ok(()));
        assert_eq!(inside(&api, || connect("10.1.0.2:80")).await, Ok(()));
        assert_eq!(inside(&api, || connect("10.2.0.4:80")).await, Ok(()));
        assert_eq!(inside(&web, || connect("10.1.0.3:81")).await, Err(ErrorKind::ConnectionRefused));
        // Not across: said at once, and nothing goes through the container that is on both.
        assert!(inside(&web, || connect("10.2.0.4:80")).await.is_err());
        assert!(inside(&db, || connect("10.1.0.2:80")).await.is_err());
        assert_eq!(inside(&vault, || connect("10.1.0.2:80")).await, Err(ErrorKind::NetworkUnreachable));
        assert_eq!(inside(&vault, || connect("198.51.100.1:80")).await, Err(ErrorKind::NetworkUnreachable));
    });
}

#[test]
fn a_namespace_is_as_docker_makes_it() {
    in_namespaces("places::a_namespace_is_as_docker_makes_it", || async {
        let networks = start();
        networks.reserve(2).expect("ordered");
        let alone = Arc::new(networks.container_namespace().await.expect("a namespace"));
        let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).expect("a sysctl");
        let (start, group, forward) = inside(&alone, move || {
            (
                sysctl("ipv4/ip_unprivileged_port_start"),
                sysctl("ipv4/ping_group_range"),
                sysctl("ipv4/ip_forward"),
            )
        })
        .await;
        assert_eq!((start.trim(), forward.trim()), ("0", "0"));
        assert_eq!(
            group.split_whitespace().collect::<Vec<_>>(),
            ["0", "0"],
            "the one group of this namespace"
        );
        let loopback = inside(&alone, || {
            let listener = TcpListener::bind("127.0.0.1:99").expect("loopback");
            let v6 = TcpListener::bind("[::1]:99");
            (TcpStream::connect(listener.local_addr().expect("bound")).is_ok(), v6.is_ok())
        })
        .await;
        assert_eq!(loopback, (true, true));
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let mut place = on("edge", "10.1.0.2", &["web"], true);
        place.interface = "lan7".to_owned();
        place.mac = Some([2, 0, 0, 0, 0, 7]);
        let web = container(&networks, "web", &[place]).await;
        let devices = inside(&web, || fs::read_to_string("/proc/thread-self/net/dev").expect("proc")).await;
        assert!(devices.contains("lan7:"), "{devices}");
        let v6 =
            inside(&web, || fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default()).await;
        assert!(!v6.contains("lan7"), "{v6}");
        let routes = inside(&web, || fs::read_to_string("/proc/thread-self/net/route").expect("proc")).await;
        assert_eq!(routes.lines().filter(|line| line.starts_with("lan7\t00000000\t")).count(), 1, "{routes}");
    });
}

#[test]
fn a_container_that_is_gone_answers_no_more() {
    in_namespaces("places::a_container_that_is_gone_answers_no_more", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let place = on("edge", "10.1.0.2", &["web"], true);
        let old = container(&networks, "old", std::slice::from_ref(&place)).await;
        let listener = inside(&old, || TcpListener::bind("0.0.0.0:80")).await.expect("a port");
        let client = container(&networks, "client", &[on("edge", "10.1.0.3", &["client"], true)]).await;
        assert_eq!(inside(&client, || connect("10.1.0.2:80")).await, Ok(()));
        networks.detach("old").await;
        // Its namespace and its listener still stand, and soon nothing reaches them; the next one has the address.
        let silence = Duration::from_millis(200);
        while inside(&client, move || connect_within("10.1.0.2:80", silence)).await.is_ok() {}
        let new = container(&networks, "new", &[place]).await;
        let server = inside(&new, || TcpListener::bind("0.0.0.0:80")).await.expect("a port");
        inside(&client, || {
            let mut stream =
                TcpStream::connect_timeout(&"10.1.0.2:80".parse().expect("an address"), PATIENCE)?;
            stream.write_all(b"x")
        })
        .await
        .expect("the new one");
        let (mut stream, _) = server.accept().expect("the connection is here");
        stream.read_exact(&mut [0]).expect("and not at the old one");
        drop(listener);
    });
}

#[test]
fn a_namespace_without_a_container_goes_away() {
    in_namespaces("places::a_namespace_without_a_container_goes_away", || async {
        let networks = start();
        let edge = Arc::new(networks.create(network("edge", "10.1.0.0/24")).await.expect("a network"));
        for n in 2..6 {
            let place = on("edge", &format!("10.1.0.{n}"), &["web"], true);
            let web = container(&networks, "web", &[place]).await;
            drop(web);
            networks.detach("web").await;
        }
        // With a namespace goes the port that led to it. Nothing of ours may stand in one or hold one.
        loop {
            let links = || fs::read_to_string("/proc/thread-self/net/dev").expect("proc");
            let ports = inside(&edge, links).await.matches("v0a01").count();
            if ports == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn refused_attachments_are_errors() {
    in_namespaces("places::refused_attachments_are_errors", || async {
        let networks = start();
        let namespace = networks.container_namespace().await.expect("a namespace");
        let place = on("edge", "10.1.0.2", &["web"], true);
        let error = networks
            .attach("web", namespace.as_fd(), std::slice::from_ref(&place), true)
            .await
            .expect_err("unknown");
        assert_eq!(error.to_string(), "network `edge` is not set up");
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let mut twice = vec![place.clone(), place];
        twice[1].address = Ipv4Addr::new(10, 1, 0, 3);
        let error = networks.attach("web", namespace.as_fd(), &twice, true).await.expect_err("eth0 twice");
        let report = crate::report::Report::from(error);
        assert_eq!(report.message, "cannot set up the network of `edge`");
        assert!(report.causes[0].starts_with("cannot make a veth pair"), "{report:?}");
    });
}

#[test]
fn rules_are_taken_whichever_the_kernel_lacks() {
    in_namespaces("places::rules_are_taken_whichever_the_kernel_lacks", || async {
        use super::super::nftables::{Before, write};
        use super::super::rules::{Ports, of_features};
        let networks = start();
        let spec = network("edge", "10.1.0.0/24");
        let namespace = Arc::new(networks.create(spec.clone()).await.expect("a network"));
        for tables in of_features(&spec, Ports { tcp: 1, udp: 2 }) {
            let result = inside(&namespace, move || {
                write(&tables, Before::Anything).map_err(|refusal| format!("{refusal}: {tables:?}"))
            });
            assert_eq!(result.await, Ok(()));
        }
        // What is there already is seen.
        let tables = of_features(&spec, Ports { tcp: 1, udp: 2 }).remove(7);
        let refusal =
            inside(&namespace, move || write(&tables, Before::Nothing)).await.expect_err("it is there");
        assert_eq!(refusal.source.raw_os_error(), Some(libc::EEXIST), "{refusal}");
    });
}

/// Numbers, on demand: `RCOMPOSE_BENCH=1 RCOMPOSE_TEST_SHOW=1 cargo test --release network::tests::places::speed`.
#[test]
#[expect(clippy::print_stderr, reason = "it is asked for its numbers")]
fn speed_of_making_places() {
    if std::env::var_os("RCOMPOSE_BENCH").is_none() {
        return;
    }
    in_namespaces("places::speed_of_making_places", || async {
        let networks = start();
        for round in 0..3 {
            let count = 100u8;
            let start = Instant::now();
            networks.reserve(usize::from(count)).expect("ordered");
            let name = format!("edge{round}");
            networks.create(network(&name, "10.1.0.0/24")).await.expect("a network");
            let made = start.elapsed();
            let mut namespaces = Vec::new();
            for _ in 0..count {
                namespaces.push(networks.container_namespace().await.expect("a namespace"));
            }
            let pooled = start.elapsed();
            for (n, namespace) in (2..).zip(&namespaces) {
                let place = on(&name, &format!("10.1.0.{n}"), &["web"], true);
                networks.attach(&format!("c{n}"), namespace.as_fd(), &[place], true).await.expect("attached");
            }
            let attached = start.elapsed();
            for n in 2..count + 2 {
                networks.detach(&format!("c{n}")).await;
            }
            let detached = start.elapsed();
            networks.remove(&name).await;
            eprintln!(
                "network {made:?}; {count} namespaces {:?} each; attach {:?} each; detach {:?} each",
                (pooled - made) / u32::from(count),
                (attached - pooled) / u32::from(count),
                (detached - attached) / u32::from(count)
            );
        }
    });
}

#[test]
fn neighbours_are_told_of_another_link_address() {
    in_namespaces("places::neighbours_are_told_of_another_link_address", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let asks = container(&networks, "asks", &[on("edge", "10.1.0.2", &["asks"], true)]).await;
        let known = || async {
            let table = || fs::read_to_string("/proc/thread-self/net/arp").expect("a table");
            let table = inside(&asks, table).await;
            let line =
                table.lines().find(|line| line.starts_with("10.1.0.3 ")).unwrap_or_default().to_owned();
            line.split_whitespace().nth(3).unwrap_or_default().to_owned()
        };
        for (id, mac, shown) in [
            ("first", None, "02:42:0a:01:00:03"),
            ("second", Some([2, 0, 0, 0, 0, 9]), "02:00:00:00:00:09"),
            ("third", None, "02:42:0a:01:00:03"),
        ] {
            let place = Attachment { mac, ..on("edge", "10.1.0.3", &["told"], true) };
            let namespace = container(&networks, id, &[place]).await;
            if id == "first" {
                // Nobody listens; but now it is known.
                assert_eq!(inside(&asks, || connect("10.1.0.3:80")).await, Err(ErrorKind::ConnectionRefused));
            }
            let start = Instant::now();
            while known().await != shown {
                assert!(start.elapsed() < PATIENCE, "{id}: {}", known().await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            networks.detach(id).await;
            drop(namespace);
        }
    });
}
