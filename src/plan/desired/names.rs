//! Refuses names and texts that fit their attribute's type and mean nothing: a variable whose name holds a `=`, a name that
//! would forge lines of `/etc/hosts`, a path that leads nowhere, a port that is none. Before anything is made.

use std::net::IpAddr;

use super::refusals::Refusals;
use super::values::digits;
use crate::compose::model::{Environment, Hook, Service};
use crate::runtime::spec::{Namespaces, Network, Share};

/// The longest host name, in bytes: `__NEW_UTS_LEN` (uname(2)).
const LONGEST_HOST_NAME: usize = 64;

/// The longest name that DNS carries, in bytes (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;

/// The longest name of an interface, in bytes: `IFNAMSIZ` without the zero byte (netdevice(7)).
const LONGEST_INTERFACE: usize = 15;

/// The word for the host's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// What mount(8) knows as propagation of a bind.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// Refuses what of one service means nothing.
pub(super) fn check(service: &Service, refusals: &mut Refusals) {
    hosts(service, refusals);
    resolver(service, refusals);
    interfaces(service, refusals);
    process(service, refusals);
    exposed(service, refusals);
    sysctls(service, refusals);
    for (index, volume) in service.volumes.iter().enumerate() {
        let propagation = volume.bind.as_ref().and_then(|bind| bind.propagation.as_deref());
        if let Some(text) = propagation.filter(|text| !text.is_empty() && !PROPAGATIONS.contains(text)) {
            let attribute = format!("volumes.{index}.bind.propagation");
            let expected = "private, slave or shared, or one of them with an `r` before";
            refusals.value(service, attribute, text, expected);
        }
    }
}

fn hosts(service: &Service, refusals: &mut Refusals) {
    for (attribute, name) in [("hostname", &service.hostname), ("domainname", &service.domainname)] {
        if let Some(name) = name.as_ref().filter(|name| !is_word(name) || name.len() > LONGEST_HOST_NAME) {
            let expected = "a host name: no spaces, no control characters, 64 bytes at most";
            refusals.value(service, attribute, name, expected);
        }
    }
    for (host, addresses) in &service.extra_hosts.0 {
        if !is_name(host) {
            let expected = "a host name: no spaces, no control characters";
            refusals.value(service, "extra_hosts", host, expected);
        }
        let is_address = |text: &String| text == HOST_GATEWAY || text.parse::<IpAddr>().is_ok();
        for address in addresses.iter().filter(|address| !is_address(address)) {
            refusals.value(service, "extra_hosts", address, "an IP address or `host-gateway`");
        }
    }
    for (key, place) in &service.networks {
        let aliases = place.iter().flat_map(|place| &place.aliases);
        for (index, name) in aliases.enumerate().filter(|(_, name)| !is_name(name)) {
            let expected = "an alias: no spaces, no control characters, 253 bytes at most";
            refusals.value(service, format!("networks.{key}.aliases.{index}"), name, expected);
        }
    }
}

/// Whether a text is one word of `/etc/hosts` (hosts(5)).
fn is_word(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || letter == '#')
}

fn is_name(text: &str) -> bool {
    is_word(text) && !text.is_empty() && text.len() <= LONGEST_NAME
}

/// What goes into `/etc/resolv.conf`, one word each (resolv.conf(5)).
fn resolver(service: &Service, refusals: &mut Refusals) {
    let mut check = |attribute, list: &[String], is_good: fn(&str) -> bool, expected: &'static str| {
        for (index, text) in list.iter().enumerate().filter(|(_, text)| !is_good(text)) {
            refusals.value(service, format!("{attribute}.{index}"), text, expected);
        }
    };
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    check("dns", &service.dns, is_address, "the IP address of a name server");
    check("dns_search", &service.dns_search, is_name, "a domain: no spaces, 253 bytes at most");
    check("dns_opt", &service.dns_opt, is_name, "an option of resolv.conf(5), such as `ndots:1`");
}

fn interfaces(service: &Service, refusals: &mut Refusals) {
    let mut taken: Vec<&str> = Vec::new();
    for (key, place) in &service.networks {
        let name = place.as_ref().and_then(|place| place.interface_name.as_deref()).unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let attribute = format!("networks.{key}.interface_name");
        if !is_interface(name) {
            let expected = "the name of an interface: 15 bytes at most, no spaces, `/` or `:`, not `lo`";
            refusals.value(service, attribute, name, expected);
        } else if taken.contains(&name) {
            refusals.value(service, attribute, name, "free: another interface of the service has it");
        } else {
            taken.push(name);
        }
    }
}

/// What the kernel takes as a name (`dev_valid_name` in net/core/dev.c), but for that of the loopback.
fn is_interface(name: &str) -> bool {
    let is_bad = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | ':');
    name.len() <= LONGEST_INTERFACE && !matches!(name, "." | ".." | "lo") && !name.chars().any(is_bad)
}

/// What a program gets to see of the file: its words, variables and directory.
fn process(service: &Service, refusals: &mut Refusals) {
    words(service, "command", service.command.as_deref(), refusals);
    words(service, "entrypoint", service.entrypoint.as_deref(), refusals);
    directory(service, "working_dir".to_owned(), service.working_dir.as_deref(), refusals);
    variables(service, "environment", &service.environment, refusals);
    for (kind, hooks) in [("post_start", &service.post_start), ("pre_stop", &service.pre_stop)] {
        for (index, hook) in hooks.iter().enumerate() {
            check_hook(service, &format!("{kind}.{index}"), hook, refusals);
        }
    }
}

fn check_hook(service: &Service, place: &str, hook: &Hook, refusals: &mut Refusals) {
    let command = hook.command.as_deref().unwrap_or_default();
    let attribute = format!("{place}.command");
    if command.first().is_none_or(String::is_empty) {
        refusals.value(service, &attribute, command.join(" "), "a command: it names no program");
    }
    words(service, &attribute, Some(command), refusals);
    directory(service, format!("{place}.working_dir"), hook.working_dir.as_deref(), refusals);
    variables(service, &format!("{place}.environment"), &hook.environment, refusals);
}

/// Words end at a zero byte (execve(2)).
fn words(service: &Service, attribute: &str, words: Option<&[String]>, refusals: &mut Refusals) {
    let words = words.unwrap_or_default().iter().enumerate();
    for (index, word) in words.filter(|(_, word)| word.contains('\0')) {
        let expected = "an argument: it holds a zero byte";
        refusals.value(service, format!("{attribute}.{index}"), word, expected);
    }
}

fn directory(service: &Service, attribute: String, path: Option<&str>, refusals: &mut Refusals) {
    let is_bad = |path: &&str| !path.is_empty() && (!path.starts_with('/') || path.contains('\0'));
    if let Some(path) = path.filter(is_bad) {
        refusals.value(service, attribute, path, "an absolute path in the container");
    }
}

/// A variable is `NAME=value` (environ(7)): a name with a `=` would be another one.
fn variables(service: &Service, attribute: &str, variables: &Environment, refusals: &mut Refusals) {
    for (name, value) in variables {
        let place = || if name.is_empty() { attribute.to_owned() } else { format!("{attribute}.{name}") };
        if name.is_empty() || name.contains(['=', '\0']) {
            let expected = "the name of a variable: it is empty, or holds a `=` or a zero byte";
            refusals.value(service, place(), name, expected);
        } else if let Some(value) = value.as_ref().filter(|value| value.contains('\0')) {
            let expected = "the value of a variable: it holds a zero byte";
            refusals.value(service, place(), value, expected);
        }
    }
}

/// `PORT[-PORT][/PROTOCOL]`.
fn exposed(service: &Service, refusals: &mut Refusals) {
    let is_port = |text: &str| {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| digits(text)?.parse::<u16>().ok().filter(|port| *port > 0);
        port(first).zip(port(last)).is_some_and(|(first, last)| first <= last)
            && ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str())
    };
    for (index, text) in service.expose.iter().enumerate().filter(|(_, text)| !is_port(text)) {
        let expected = "a port from 1 to 65535, such as `80`, `53/udp` or `3000-3005`";
        refusals.value(service, format!("expose.{index}"), text, expected);
    }
}

/// Kernel parameters that are not the container's own would be the whole machine's.
fn sysctls(service: &Service, refusals: &mut Refusals) {
    let is_host = |text: &Option<String>| text.as_deref() == Some("host");
    let share = |text: &Option<String>| if is_host(text) { Share::Host } else { Share::Private };
    let namespaces = Namespaces {
        network: if is_host(&service.network_mode) { Network::Host } else { Network::Own },
        pid: Share::Private,
        ipc: share(&service.ipc),
        uts: share(&service.uts),
        cgroup: Share::Private,
    };
    for (name, value) in &service.sysctls {
        let attribute = || format!("sysctls.{name}");
        if !namespaces.owns(name) {
            let expected = "a kernel parameter of the container's own: `net.*` in a network of its own, `fs.mqueue.*`, \
                            `kernel.msg*`, `kernel.sem` and `kernel.shm*`";
            refusals.value(service, attribute(), name, expected);
        } else if value.trim().is_empty() {
            refusals.value(service, attribute(), value, "the value of a kernel parameter: it is empty");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_value as check, wish};

    #[test]
    fn names_that_would_forge_lines() {
        let host = "a host name: no spaces, no control characters, 64 bytes at most";
        check("hostname: \"a\\n1.2.3.4 bank\"", "hostname", "a\\n1.2.3.4 bank", host);
        check("domainname: 'a b'", "domainname", "a b", host);
        let long = "x".repeat(65);
        check(&format!("hostname: {long}"), "hostname", &long, host);
        check(
            "extra_hosts: [\"a\\tb=1.1.1.1\"]",
            "extra_hosts",
            "a\\tb",
            "a host name: no spaces, no control characters",
        );
        let address = "an IP address or `host-gateway`";
        check("extra_hosts: [\"a=1.1.1.1\\n2.2.2.2\"]", "extra_hosts", "1.1.1.1\\n2.2.2.2", address);
        check("extra_hosts: ['a=1.2.3.999']", "extra_hosts", "1.2.3.999", address);
        check(
            "networks: {default: {aliases: [a, 'a b']}}",
            "networks.default.aliases.1",
            "a b",
            "an alias: no spaces, no control characters, 253 bytes at most",
        );
        wish(
            "services: {web: {image: x, hostname: web_1.example-2, domainname: example, \
             extra_hosts: ['a=1.1.1.1', 'a=fe80::1', b=host-gateway], networks: {default: {aliases: [db.local]}}}}\n\
             networks: {default: {}}",
        );
    }

    #[test]
    fn what_no_resolver_reads() {
        let server = "the IP address of a name server";
        check("dns: [999.1.1.1]", "dns.0", "999.1.1.1", server);
        check("dns: [1.1.1.1, dns.example]", "dns.1", "dns.example", server);
        let domain = "a domain: no spaces, 253 bytes at most";
        check(
            "dns_search: [a, \"b\\nnameserver 1.1.1.1\"]",
            "dns_search.1",
            "b\\nnameserver 1.1.1.1",
            domain,
        );
        let option = "an option of resolv.conf(5), such as `ndots:1`";
        check("dns_opt: ['ndots: 1']", "dns_opt.0", "ndots: 1", option);
        wish("services: {web: {image: x, dns_search: [., example.org], dns_opt: ['ndots:2', use-vc]}}");
    }

    #[test]
    fn interfaces_that_the_kernel_does_not_make() {
        let expected = "the name of an interface: 15 bytes at most, no spaces, `/` or `:`, not `lo`";
        for name in ["sixteen-letters-", "a/b", "a:1", "a b", "..", "lo"] {
            check(
                &format!("networks: {{default: {{interface_name: '{name}'}}}}"),
                "networks.default.interface_name",
                name,
                expected,
            );
        }
        check(
            "networks: {default: {interface_name: lan}, b: {interface_name: lan}}",
            "networks.b.interface_name",
            "lan",
            "free: another interface of the service has it",
        );
    }

    #[test]
    fn variables_words_and_directories_that_a_program_cannot_get() {
        let name = "the name of a variable: it is empty, or holds a `=` or a zero byte";
        check("environment: {'A=B': x}", "environment.A=B", "A=B", name);
        check("environment: {'': x}", "environment", "", name);
        check(
            "environment: {A: \"b\\0c\"}",
            "environment.A",
            "b\\u{0}c",
            "the value of a variable: it holds a zero byte",
        );
        check("command: [a, \"b\\0\"]", "command.1", "b\\u{0}", "an argument: it holds a zero byte");
        check("working_dir: a/b", "working_dir", "a/b", "an absolute path in the container");
        let hook = |inner: &str| format!("post_start: [{{command: [a]}}, {{{inner}}}]");
        check(
            &hook("command: [a], working_dir: b"),
            "post_start.1.working_dir",
            "b",
            "an absolute path in the container",
        );
        check(&hook("command: [a], environment: {'=': x}"), "post_start.1.environment.=", "=", name);
        check(&hook("command: []"), "post_start.1.command", "", "a command: it names no program");
        wish("services: {web: {image: x, working_dir: '', environment: {A: 'b=c', B.d-e: ''}}}");
    }

    #[test]
    fn ports_that_are_none() {
        let expected = "a port from 1 to 65535, such as `80`, `53/udp` or `3000-3005`";
        for text in ["+80", "70000", "0", "abc", "80/icmp", "80-70", "80-", "-1", ""] {
            check(&format!("expose: ['80', '{text}']"), "expose.1", text, expected);
        }
        wish("services: {web: {image: x, expose: ['80', '3000-3005', '53/udp', '1-65535/TCP']}}");
    }

    #[test]
    fn parameters_of_the_whole_machine() {
        let expected = "a kernel parameter of the container's own: `net.*` in a network of its own, `fs.mqueue.*`, \
                        `kernel.msg*`, `kernel.sem` and `kernel.shm*`";
        for name in ["vm.swappiness", "kernel.panic", "net/../vm", "nosuch"] {
            check(&format!("sysctls: {{{name}: '1'}}"), &format!("sysctls.{name}"), name, expected);
        }
        let net = "net.core.somaxconn";
        check(
            "network_mode: host, sysctls: {net.core.somaxconn: '1'}",
            &format!("sysctls.{net}"),
            net,
            expected,
        );
        check(
            "sysctls: {net.core.somaxconn: ''}",
            &format!("sysctls.{net}"),
            "",
            "the value of a kernel parameter: it is empty",
        );
        wish(
            "services: {web: {image: x, sysctls: {net.core.somaxconn: '5', kernel.shmmax: '1', kernel.hostname: a}}}",
        );
    }

    #[test]
    fn propagations_that_mount_does_not_know() {
        let volume = |word: &str| {
            format!("volumes: [{{type: bind, source: /a, target: /a, bind: {{propagation: {word}}}}}]")
        };
        check(
            &volume("wide"),
            "volumes.0.bind.propagation",
            "wide",
            "private, slave or shared, or one of them with an `r` before",
        );
        wish(&format!("services: {{web: {{image: x, {}}}}}", volume("rslave")));
    }
}
