//! Real containers, under a real keeper. They need user namespaces and nothing else.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::message::{Notice, Word};
use super::testing::{Keeper, read_all, skip, spec};
use super::{journal, message};
use crate::host::process::Identity;
use crate::runtime::create::{self, Handles};
use crate::runtime::exec::{self, Talk, Target};
use crate::runtime::spec::*;

/// Runs a script in a container that `change` has its way with; checks output and code.
fn check(change: impl Fn(&mut ContainerSpec), script: &str, expected: (&str, i32)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec(&format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed)), script);
    change(&mut spec);
    let (output, code) = keeper.run(&spec);
    assert_eq!((output.as_str(), code), expected, "{script}");
}

fn as_usual(_: &mut ContainerSpec) {}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Whether the outer user namespace of these tests maps more than one id.
fn has_more_ids() -> bool {
    let name = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let listed = |name: String| {
        fs::read_to_string("/etc/subuid")
            .is_ok_and(|text| text.lines().any(|line| line.starts_with(&format!("{name}:"))))
    };
    is_root() || name.is_some_and(listed)
}

fn pidfd(pid: i32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives")
}

fn kill(pid: i32, signal: i32) {
    crate::sys::process::kill(pid, signal).expect("it lives");
}

/// Starts a container that waits for SIGTERM, and waits until it is ready.
fn start_sleeper(keeper: &mut Keeper, id: &str, change: impl Fn(&mut ContainerSpec)) -> (ContainerSpec, i32) {
    let mut spec = keeper.spec(id, "trap 'exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done");
    change(&mut spec);
    let started =
        keeper.launch(id, create::operations(&spec, Handles::default()).expect("a launch")).expect("started");
    let mut line = [0; 6];
    fs::File::from(started.descriptors["out"].try_clone().expect("a copy"))
        .read_exact(&mut line)
        .expect("a line");
    assert_eq!(&line, b"ready\n");
    (spec, started.pid)
}

fn exec_in(keeper: &mut Keeper, spec: &ContainerSpec, pid: i32, argv: &[&str], user: &str) -> (String, i32) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("exec{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let argv = argv.iter().map(ToString::to_string).collect();
    let process = Process { argv, user: user.into(), ..spec.process.clone() };
    let target = Target {
        process: pidfd(pid),
        namespaces: &spec.namespaces,
        user_namespace: &spec.user_namespace,
        cgroup: &[],
        privileged: false,
    };
    let prepared = exec::operations(&process, target, Talk::Pipes { stdin: false }).expect("a launch");
    match keeper.exec(&id, &spec.id.0, prepared) {
        Ok(mut started) => {
            let out = read_all(started.descriptors.remove("out").expect("out"));
            let err = read_all(started.descriptors.remove("err").expect("err"));
            (out + &err, keeper.exit(&id).code.expect("known"))
        }
        Err((code, message)) => (message, code),
    }
}

#[test]
fn a_container_on_the_hosts_own_programs_prints_and_ends() {
    let script = "echo hello from $$ on $(hostname); echo oops >&2; exit 7";
    check(as_usual, script, ("hello from 1 on box\noops\n", 7));
    check(
        as_usual,
        "ls /home /root /var/lib; cat /etc/hostname; tail -n1 /etc/hosts; cat /etc/resolv.conf",
        ("/home:\n\n/root:\n\n/var/lib:\nbox\n10.1.2.3\tbox\nnameserver 127.0.0.11\n", 0),
    );
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let argv = |argv: &'static [&'static str]| {
        move |spec: &mut ContainerSpec| spec.process.argv = argv.iter().map(ToString::to_string).collect()
    };
    check(argv(&["nonesuch"]), "", ("exec: `nonesuch`: executable file not found in $PATH", 127));
    check(argv(&["/non/such"]), "", ("exec: `/non/such`: no such file or directory", 127));
    check(argv(&["/etc/passwd"]), "", ("exec: `/etc/passwd`: Permission denied (os error 13)", 126));
    check(argv(&["/usr"]), "", ("exec: `/usr`: Permission denied (os error 13)", 126));
    check(argv(&["false"]), "", ("", 1));
    check(argv(&["sh", "-c", "kill -9 $PPID; (kill -9 $$)"]), "", ("", 0));
    check(|spec| spec.init = true, "kill -9 $$", ("", 137));
    check(
        |spec| spec.process.user = "nonesuch".into(),
        "",
        ("no user `nonesuch` in the image's /etc/passwd", 125),
    );
    let missing = |spec: &mut ContainerSpec| spec.process.argv = vec!["/tmp/script".into()];
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec("script", "printf '#!/no/such\\n' > /tmp/script; chmod +x /tmp/script");
    assert_eq!(keeper.run(&spec), (String::new(), 0));
    missing(&mut spec);
    let message = "exec: `/tmp/script`: its interpreter or loader is missing in the container";
    assert_eq!(keeper.run(&spec), (message.into(), 127));
}

#[test]
fn what_a_container_wrote_is_there_when_it_starts_again_and_nowhere_else() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let spec = keeper
        .spec("again", "cat /etc/mine /data; echo $((1 + 1)) > /etc/mine; echo 3 > /data; test -e /data");
    let (first, code) = keeper.run(&spec);
    assert!(code == 0 && first.contains("No such file"), "{first}");
    assert_eq!(keeper.run(&spec), ("2\n3\n".into(), 0));
    assert!(!Path::new("/etc/mine").exists());
}

#[test]
fn layers_lie_over_each_other_and_a_layer_may_come_twice() {
    let Some(busybox) =
        ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists())
    else {
        return skip("a static busybox");
    };
    let Some(mut keeper) = Keeper::start_new() else { return };
    let images = keeper.directory.path().join("images");
    let (base, top) = (images.join("base, with:odd\\name"), images.join("top"));
    for directory in [base.join("bin"), base.join("etc"), top.join("etc")] {
        fs::create_dir_all(directory).expect("made");
    }
    fs::copy(busybox, base.join("bin/busybox")).expect("copied");
    symlink("busybox", base.join("bin/sh")).expect("linked");
    symlink("busybox", base.join("bin/cat")).expect("linked");
    fs::write(base.join("etc/a"), "base\n").expect("written");
    fs::write(base.join("etc/b"), "base\n").expect("written");
    fs::write(top.join("etc/b"), "top\n").expect("written");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).expect("set");
    let writable = keeper.directory.path().join("layers");
    fs::create_dir(&writable).expect("made");
    let layers = vec![top.clone(), base.clone(), top];
    let rootfs = Rootfs { layers, host_userland: false, writable, read_only: true };
    let mut spec = spec("layers", rootfs, &["sh", "-c", "cat /etc/a /etc/b; : > /etc/c"]);
    spec.process.cwd = "/made/for/it".into();
    let (output, code) = keeper.run(&spec);
    assert!(
        output.starts_with("base\ntop\nsh: can't create /etc/c: Read-only file system") && code == 1,
        "{output}"
    );
    spec.rootfs.read_only = false;
    spec.process.argv[2] = "pwd; echo x > /etc/c; cat /etc/c".into();
    assert_eq!(keeper.run(&spec), ("/made/for/it\nx\n".into(), 0));
}

#[test]
fn nothing_of_ours_is_open_and_privileges_are_gone() {
    // `ls` itself opens the directory as 3.
    check(as_usual, "ls /proc/self/fd", ("0\n1\n2\n3\n", 0));
    let status = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '; '";
    let usual = "CapInh: 0000000000000000;CapPrm: 00000000a80425fb;CapEff: 00000000a80425fb;\
                 CapBnd: 00000000a80425fb;CapAmb: 0000000000000000;NoNewPrivs: 0;Seccomp: 2;";
    check(as_usual, status, (usual, 0));
    check(|spec| spec.init = true, &status.replace("self", "1"), (usual, 0));
    check(
        |spec| {
            spec.process.capabilities = vec!["CAP_NET_RAW".into()];
            spec.process.no_new_privileges = true;
        },
        status,
        (
            "CapInh: 0000000000000000;CapPrm: 0000000000002000;CapEff: 0000000000002000;\
             CapBnd: 0000000000002000;CapAmb: 0000000000000000;NoNewPrivs: 1;Seccomp: 2;",
            0,
        ),
    );
    let refused = "for f in /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do \
                   (echo 1 > $f) 2>/dev/null && echo wrote $f; done; head -c1 /proc/kcore 2>/dev/null; ls /sys/firmware; \
                   mount -t tmpfs none /mnt 2>/dev/null && echo mounted; ls /proc/acpi 2>/dev/null; true";
    check(as_usual, refused, ("", 0));
    check(|spec| spec.init = true, "readlink /proc/1/exe || echo hidden", ("hidden\n", 0));
}

#[test]
fn the_devices_are_those_of_a_container() {
    let script = "ls /dev | tr '\\n' ' '; echo x > /dev/null; head -c2 /dev/zero | od -An -tx1; \
                  stat -f -c %T /dev/shm /dev/mqueue; df -k /dev/shm | awk 'NR==2{print $2}'; touch /dev/shm/x; \
                  echo via /dev/stdout > /dev/stdout; readlink /dev/fd";
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \
                    00 00\ntmpfs\nmqueue\n65536\nvia /dev/stdout\n/proc/self/fd\n";
    check(as_usual, script, (&expected.replace("zero 00", "zero  00"), 0));
    let device = |spec: &mut ContainerSpec| {
        spec.devices.push(Device {
            source: "/dev/null".into(),
            target: "/dev/mine".into(),
            permissions: "rwm".into(),
        });
    };
    check(device, "echo x > /dev/mine && cat /dev/mine", ("", 0));
}

#[test]
fn mounts_are_where_and_what_was_asked() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let host = keeper.directory.path().join("host");
    fs::create_dir_all(host.join("sub")).expect("made");
    fs::write(host.join("file"), "of the host\n").expect("written");
    let mut spec = keeper.spec(
        "mounts",
        "cat /a/file /new/deep/file; echo y > /a/y; (echo z > /ro/z) 2>/dev/null || echo ro; \
         stat -c '%a %u:%g' /run/secrets/s; cat /run/secrets/s; (echo > /run/secrets/s) 2>/dev/null; \
         grep -o ' /t .*nosuid.*nodev.*noexec' /proc/self/mountinfo | cut -d' ' -f2; df -k /t | awk 'NR==2{print $2}'; \
         stat -c %a /t",
    );
    let bind = |path: &Path| MountSource::Bind { path: path.into(), propagation: None, non_recursive: false };
    let mount = |target: &str, source, read_only| Mount { target: target.into(), source, read_only };
    let secret = MountSource::Secret { content: "aHVzaAo=".into(), uid: Some(0), gid: None, mode: 0o440 };
    let tmpfs =
        MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o700), uid: None, gid: None, options: vec![] };
    spec.mounts = vec![
        mount("/a", bind(&host), false),
        mount("/new/deep/file", bind(&host.join("file")), false),
        mount("/ro", bind(&host), true),
        mount("/run/secrets/s", secret, false),
        mount("/t", tmpfs, false),
    ];
    let expected = "of the host\nof the host\nro\n440 0:0\nhush\n/t\n1024\n700\n";
    assert_eq!(keeper.run(&spec), (expected.into(), 0));
    assert_eq!(fs::read_to_string(host.join("y")).expect("written by the container"), "y\n");
    // A second mount of the same paths finds its targets there.
    assert_eq!(keeper.run(&spec), (expected.into(), 0));
    spec.mounts = vec![mount("/new", bind(&host.join("nonesuch")), false)];
    let (message, code) = keeper.run(&spec);
    assert!(code == 125 && message.contains("host/nonesuch`: No such file"), "{message}");
    spec.mounts = vec![mount("/etc/passwd", bind(&host), false)];
    assert_eq!(
        keeper.run(&spec),
        ("cannot mount a directory onto `/etc/passwd`, which is a file".into(), 125)
    );
}

#[test]
fn links_in_an_image_or_volume_lead_nowhere_but_inside() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let volume = keeper.directory.path().join("volume");
    let outside = keeper.directory.path().join("outside");
    fs::create_dir_all(&volume).expect("made");
    fs::create_dir_all(&outside).expect("made");
    symlink(&outside, volume.join("absolute")).expect("linked");
    symlink("../../../../../../../../../../proc/self", volume.join("proc")).expect("linked");
    symlink("/proc/sys/kernel", volume.join("kernel")).expect("linked");
    let bind = |path: &Path| MountSource::Bind { path: path.into(), propagation: None, non_recursive: false };
    let mount = |target: &str, source| Mount { target: target.into(), source, read_only: false };
    let mut spec = keeper.spec("links", "test -e \"$1/x\" && echo inside");
    spec.process.argv.extend(["sh".into(), outside.display().to_string()]);
    // Docker makes it inside of the container; so do we: the path outside stays empty.
    spec.mounts = vec![
        mount("/v", bind(&volume)),
        mount(
            "/v/absolute/x",
            MountSource::Bind { path: "/etc".into(), propagation: None, non_recursive: false },
        ),
    ];
    assert_eq!(keeper.run(&spec), ("inside\n".into(), 0));
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
    for (target, expected) in [
        ("/v/kernel", "mount target `/v/kernel` is inside /proc"),
        ("/proc/1", "mount target `/proc/1` is inside /proc"),
    ] {
        spec.mounts = vec![mount("/v", bind(&volume)), mount(target, bind(&volume))];
        assert_eq!(keeper.run(&spec), (expected.into(), 125));
    }
    spec.mounts = vec![mount("/v", bind(&volume))];
    spec.process.cwd = "/proc/self/fd/3".into();
    let (message, code) = keeper.run(&spec);
    assert!(code == 125 || code == 126, "{message}");
    assert!(message.contains("/proc/self/fd/3"), "{message}");
}

#[test]
fn a_masked_path_that_is_a_link_is_refused() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec("made", "ln -s /etc /trap");
    assert_eq!(keeper.run(&spec), (String::new(), 0));
    spec.masked_paths = vec!["/trap".into()];
    let expected = "`/trap` in the container leads elsewhere by a symbolic link";
    assert_eq!(keeper.run(&spec), (expected.into(), 125));
}

#[test]
fn limits_sysctls_and_scores_are_set() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec("hard", "ulimit -Hn");
    spec.process.rlimits = vec![("nofile".into(), 100, u64::MAX - 1)];
    let started = keeper
        .launch("hard", create::operations(&spec, Handles::default()).expect("a launch"))
        .expect("started");
    let warning = started.warnings.first().expect("no host allows so many");
    assert!(warning.starts_with("`ulimits: nofile` is ") && warning.ends_with("hard limit"), "{warning}");
    let limits = |spec: &mut ContainerSpec| {
        spec.process.rlimits = vec![("nofile".into(), 512, 1024), ("core".into(), 0, 0)];
        spec.process.oom_score_adj = Some(300);
        spec.sysctls.insert("net.core.somaxconn".into(), "256".into());
        spec.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    };
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj /proc/sys/net/core/somaxconn \
                  /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start; umask";
    check(limits, script, ("512\n1024\n0\n300\n256\n1\n0\n0022\n", 0));
    let Some(keeper) = Keeper::start_new() else { return };
    for name in
        ["kernel.core_pattern", "vm.swappiness", "net.ipv4/../../kernel.core_pattern", "kernel.shmmax"]
    {
        let mut spec = keeper.spec("sysctl", "");
        spec.namespaces.ipc = Share::Host;
        spec.sysctls.insert(name.into(), "1".into());
        let error = create::operations(&spec, Handles::default()).expect_err("refused");
        assert_eq!(error.to_string(), format!("sysctl `{name}` is not the container's own"));
    }
}

#[test]
fn users_and_groups_are_those_of_the_image() {
    let id = "echo $(id -u):$(id -g) $(id -G) $HOME $(pwd)";
    check(as_usual, id, ("0:0 0 /root /\n", 0));
    if !has_more_ids() {
        let other = |spec: &mut ContainerSpec| spec.process.user = "33".into();
        let refused = "user 33:33 cannot be used: the id is not mapped on this host";
        return check(other, id, (refused, 125));
    }
    let change = |spec: &mut ContainerSpec| {
        spec.process.user = "4242:50".into();
        spec.process.group_add = vec!["2000".into(), "mail".into()];
        spec.process.cwd = "/tmp".into();
    };
    check(change, id, ("4242:50 50 8 2000 / /tmp\n", 0));
    let daemon = |spec: &mut ContainerSpec| spec.process.user = "daemon".into();
    check(
        daemon,
        "id -un; echo to /dev/stdout > /dev/stdout; grep CapEff /proc/self/status",
        ("daemon\nto /dev/stdout\nCapEff:\t0000000000000000\n", 0),
    );
    // Root may not enter what belongs to nobody's group, but the user may; and the other way round.
    let home = |spec: &mut ContainerSpec| {
        spec.process.user = "daemon".into();
        spec.process.cwd = "/root".into();
    };
    check(home, "pwd", ("/root\n", 0));
}

#[test]
fn a_single_id_can_be_the_images_user() {
    let nested = |spec: &mut ContainerSpec| {
        spec.user_namespace = UserNamespace::Single { uid: 999, gid: 998 };
        spec.process.user = "999:998".into();
        spec.mounts.push(Mount {
            target: "/t".into(),
            source: MountSource::Tmpfs { size: None, mode: None, uid: None, gid: None, options: vec![] },
            read_only: false,
        });
    };
    check(
        nested,
        "id -u; id -g; touch /t/x; stat -c %u /t/x; cat /proc/self/uid_map | xargs; echo y > /dev/stdout",
        ("999\n998\n999\n999 0 1\ny\n", 0),
    );
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (spec, pid) = start_sleeper(&mut keeper, "nested", nested);
    let output =
        exec_in(&mut keeper, &spec, pid, &["sh", "-c", "id -u; cat /proc/self/uid_map | xargs"], "999:998");
    assert_eq!(output, ("999\n999 0 1\n".into(), 0));
}

#[test]
fn standard_input_is_a_pipe_or_nothing() {
    check(as_usual, "wc -c; readlink /proc/self/fd/0", ("0\n/dev/null\n", 0));
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec("cat", "cat");
    spec.stdin_open = true;
    let prepared = create::operations(&spec, Handles::default()).expect("a launch");
    let mut started = keeper.launch("cat", prepared).expect("started");
    let mut input = fs::File::from(started.descriptors.remove("in").expect("in"));
    input.write_all(b"through\n").expect("written");
    drop(input);
    // The keeper's own copy keeps it open until it is dropped.
    assert_eq!(keeper.keys(), ["err/cat", "in/cat", "out/cat"]);
    keeper.send(&Word::Drop { key: message::key::stdin("cat") }, vec![]);
    assert_eq!(read_all(started.descriptors.remove("out").expect("out")), "through\n");
    assert_eq!(keeper.exit("cat").code, Some(0));
    keeper.send(&Word::Forget { id: "cat".into() }, vec![]);
    assert_eq!(keeper.keys(), Vec::<String>::new());
}

#[test]
fn a_terminal_is_the_containers_own() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec(
        "tty",
        "tty; test -c /dev/console && stty size < /dev/console; ps -o stat= -p $$; read x; echo got $x",
    );
    spec.tty = true;
    let prepared = create::operations(&spec, Handles::default()).expect("a launch");
    let mut started = keeper.launch("tty", prepared).expect("started");
    let mut master = fs::File::from(started.descriptors.remove("terminal").expect("a terminal"));
    let mut seen = String::new();
    let mut read_until = |end: &str| {
        let mut bytes = [0; 100];
        while !seen.contains(end) {
            let length = master.read(&mut bytes).expect("open");
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        seen.clone()
    };
    assert!(read_until("s+").starts_with("/dev/pts/0\r\n0 0\r\n"));
    (&fs::File::from(started.descriptors.remove("pidfd").expect("a pidfd"))).flush().expect("a file");
    keeper.send(&Word::Get { key: message::key::terminal("tty") }, vec![]);
    let (_, mut copy) = keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    fs::File::from(copy.remove(0)).write_all(b"word\n").expect("typed");
    let mut seen = String::new();
    let mut bytes = [0; 100];
    while !seen.contains("got word") {
        let length = master.read(&mut bytes).expect("open");
        seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert_eq!(keeper.exit("tty").code, Some(0));
}

#[test]
fn an_exec_is_inside_and_its_end_is_told() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (spec, pid) = start_sleeper(&mut keeper, "long", as_usual);
    let mut run = |argv: &[&str]| exec_in(&mut keeper, &spec, pid, argv, "");
    assert_eq!(
        run(&["sh", "-c", "hostname; ls /proc/self/fd; cat /proc/1/comm; exit 5"]),
        ("box\n0\n1\n2\n3\nsh\n".into(), 5)
    );
    assert_eq!(run(&["nonesuch"]), ("exec: `nonesuch`: executable file not found in $PATH".into(), 127));
    let namespaces = "for n in mnt pid net ipc uts cgroup; do test \"$(readlink /proc/self/ns/$n)\" = \
                      \"$(readlink /proc/1/ns/$n)\" || echo $n differs; done; grep CapBnd /proc/self/status";
    assert_eq!(run(&["sh", "-c", namespaces]), ("CapBnd:\t00000000a80425fb\n".into(), 0));
    assert!(
        journal::read(&keeper.directory.path().join("journal")).expect("read").is_empty(),
        "execs are not journalled"
    );
    let target = Target {
        process: pidfd(pid),
        namespaces: &spec.namespaces,
        user_namespace: &spec.user_namespace,
        cgroup: &[],
        privileged: false,
    };
    let process =
        Process { argv: ["sh", "-c", "tty; echo $PPID"].map(Into::into).into(), ..spec.process.clone() };
    let prepared = exec::operations(&process, target, Talk::Terminal).expect("a launch");
    let mut started = keeper.exec("shell", "long", prepared).expect("started");
    let mut output = String::new();
    // The end of a terminal is EIO.
    let _ = fs::File::from(started.descriptors.remove("terminal").expect("a terminal"))
        .read_to_string(&mut output);
    assert_eq!(output, "/dev/pts/0\r\n0\r\n");
    kill(pid, libc::SIGTERM);
    assert_eq!(keeper.exit("long").code, Some(3));
}

#[test]
fn our_pid_1_forwards_signals_and_reaps() {
    let script = "(setsid sh -c 'exit 0' &) ; sleep 0.2; for s in /proc/[0-9]*/stat; do cut -d' ' -f3 $s; done 2>/dev/null | \
                  grep -c Z; exit 4";
    check(|spec| spec.init = true, script, ("0\n", 4));
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (_, pid) = start_sleeper(&mut keeper, "init", |spec| spec.init = true);
    kill(pid, libc::SIGTERM);
    assert_eq!(keeper.exit("init").code, Some(3));
}

#[test]
fn namespaces_are_shared_as_asked() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (first, pid) = start_sleeper(&mut keeper, "first", as_usual);
    assert_eq!(exec_in(&mut keeper, &first, pid, &["sh", "-c", "echo shared > /dev/shm/x"], "").1, 0);
    let mut spec = keeper.spec(
        "second",
        "for n in pid net ipc; do test \"$(readlink /proc/self/ns/$n)\" = \"$(readlink /proc/1/ns/$n)\" || echo $n differs; \
         done; cat /proc/1/comm; cat /dev/shm/x; test $$ -gt 1; cat /sys/class/net/lo/operstate",
    );
    spec.namespaces.pid = Share::Container(first.id.clone());
    spec.namespaces.ipc = Share::Container(first.id.clone());
    spec.namespaces.network = Network::Container(first.id.clone());
    let handles = || Handles { containers: [(first.id.clone(), pidfd(pid))].into(), ..Handles::default() };
    let mut started =
        keeper.launch("second", create::operations(&spec, handles()).expect("a launch")).expect("started");
    assert_eq!(read_all(started.descriptors.remove("out").expect("out")), "sh\nshared\nunknown\n");
    assert_eq!(keeper.exit("second").code, Some(0));
    let error = create::operations(&spec, Handles::default()).expect_err("no handle");
    assert_eq!(error.to_string(), "container first was not handed over");
    // The host's.
    let mut spec = keeper.spec(
        "third",
        "readlink /proc/self/ns/net /proc/self/ns/uts; ls -d /proc/1/; ls /sys/class/net >/dev/null",
    );
    spec.namespaces.pid = Share::Host;
    spec.namespaces.network = Network::Host;
    spec.namespaces.uts = Share::Host;
    spec.namespaces.ipc = Share::Host;
    let link =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("there").display().to_string();
    assert_eq!(keeper.run(&spec), (format!("{}\n{}\n/proc/1/\n", link("net"), link("uts")), 0));
}

#[test]
fn the_supervisors_death_loses_nothing() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let lives = start_sleeper(&mut keeper, "lives", as_usual).1;
    let spec = keeper.spec("dies", "read x < /tmp/go; echo last words; exit 9");
    let mut spec = spec;
    let fifo = keeper.directory.path().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_retain(0o666)).expect("a fifo");
    spec.mounts.push(Mount {
        target: "/tmp/go".into(),
        source: MountSource::File { path: fifo.clone() },
        read_only: false,
    });
    let dies = keeper
        .launch("dies", create::operations(&spec, Handles::default()).expect("a launch"))
        .expect("started");
    drop(dies.descriptors);
    let supervisor = keeper.supervisor;
    kill(supervisor, libc::SIGKILL);
    fs::write(&fifo, "now\n").expect("written");
    keeper.next_supervisor();
    let path = keeper.directory.path().join("journal");
    // The exit may come after the new supervisor: then it is told, and in any case written.
    while !journal::read(&path).expect("read").contains_key("dies") {
        keeper.wait(|notice| matches!(notice, Notice::Exited { id, .. } if id == "dies").then_some(()));
    }
    let exit = journal::read(&path).expect("read").remove("dies").expect("written");
    assert_eq!((exit.code, exit.signal, exit.pid), (Some(9), None, dies.pid));
    keeper.send(&Word::List, vec![]);
    let (running, _) = keeper.wait(|notice| match notice {
        Notice::Processes { processes } => Some(processes.clone()),
        _ => None,
    });
    let running: Vec<_> = running.iter().map(|process| (process.id.as_str(), process.pid)).collect();
    assert_eq!(running, [("lives", lives)]);
    keeper.send(&Word::Get { key: message::key::stdout("dies") }, vec![]);
    let (_, mut descriptors) =
        keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    assert_eq!(read_all(descriptors.remove(0)), "last words\n");
    for _ in 0..3 {
        keeper.kill_supervisor();
    }
    kill(lives, libc::SIGKILL);
    let exit = keeper.exit("lives");
    assert_eq!((exit.code, exit.signal), (Some(137), Some(9)));
}

#[test]
fn containers_outlive_their_keeper_and_are_adopted() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut next = keeper.start_beside();
    let script = "trap 'exit 3' TERM; echo ready; for i in 1 2; do sleep 1000 & wait; done";
    let (_, pid) = start_sleeper(&mut keeper, "orphan", |spec| {
        spec.process.argv[2] = script.replace("wait", "wait $!; echo after $i");
    });
    let process = Identity::of(pid).expect("it lives");
    kill(keeper.pid(), libc::SIGKILL);
    next.send(&Word::Adopt { id: "orphan".into(), process: process.clone() }, vec![]);
    next.wait(|notice| matches!(notice, Notice::Adopted { id } if id == "orphan").then_some(()));
    assert!(process.is_alive());
    next.send(&Word::Get { key: message::key::stdout("orphan") }, vec![]);
    let (_, mut output) = next.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    // `sh` may not have come to its first command yet.
    let sleep = loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
        match children.trim().parse() {
            Ok(child) => break child,
            Err(_) => std::thread::yield_now(),
        }
    };
    kill(sleep, libc::SIGKILL);
    let mut line = [0; 8];
    let mut output = fs::File::from(output.remove(0));
    output.read_exact(&mut line).expect("what it writes after its keeper's death");
    assert_eq!(&line, b"after 1\n");
    kill(pid, libc::SIGTERM);
    let exit = next.exit("orphan");
    assert_eq!(output.read(&mut line).expect("the end"), 0);
    // Linux before 6.15 does not tell the exit of another's child; then the text says so.
    assert!(exit.code == Some(3) || exit.failure.is_some(), "{exit:?}");
    assert_eq!(journal::read(&next.directory.path().join("journal")).expect("read")["orphan"], exit);
    next.send(&Word::Adopt { id: "gone".into(), process }, vec![]);
    assert_eq!(next.exit("gone").code, None);
}

#[test]
fn a_thousand_containers_leave_nothing() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let rounds: usize =
        std::env::var("RCOMPOSE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let own = keeper.pid();
    let open = || fs::read_dir(format!("/proc/{own}/fd")).map(|entries| entries.count()).ok();
    let mounts = || fs::read_to_string(format!("/proc/{own}/mountinfo")).expect("readable").lines().count();
    let spec = keeper.spec("again", "exit 0");
    assert_eq!(keeper.run(&spec), (String::new(), 0));
    let before = (open(), mounts());
    let mut times = Vec::new();
    for _ in 0..rounds {
        let since = std::time::Instant::now();
        let prepared = create::operations(&spec, Handles::default()).expect("a launch");
        keeper.launch("again", prepared).expect("started");
        times.push(since.elapsed().as_micros());
        assert_eq!(keeper.exit("again").code, Some(0));
    }
    assert_eq!((open(), mounts()), before);
    times.sort_unstable();
    report(&format!(
        "start to exec: median {} µs, fastest {} µs, {rounds} rounds",
        times[rounds / 2],
        times[0]
    ));
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    assert_eq!(children.split_whitespace().count(), 1, "only the supervisor: {children}");
}

#[expect(clippy::print_stderr, reason = "a measurement for whoever asks for it with --nocapture")]
fn report(text: &str) {
    eprintln!("{text}");
}

#[test]
fn two_starts_at_once_do_not_wait_for_each_other() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let ids: Vec<String> = (0..10).map(|number| format!("many{number}")).collect();
    for id in &ids {
        let spec = keeper.spec(id, "exit 0");
        let prepared = create::operations(&spec, Handles::default()).expect("a launch");
        keeper.send(&Word::Start { id: id.clone(), launch: prepared.launch }, prepared.descriptors);
    }
    let again = keeper.spec("many0", "exit 0");
    let (code, message) =
        match keeper.launch("many0", create::operations(&again, Handles::default()).expect("a launch")) {
            Err(error) => error,
            // It had ended already.
            Ok(_) => (125, "it is running already".into()),
        };
    assert_eq!((code, message.as_str()), (125, "it is running already"));
    for id in &ids {
        assert_eq!(keeper.exit(id).code, Some(0));
    }
}

#[test]
fn descriptors_are_kept_over_supervisors() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (mut near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    keeper.send(&Word::Put { key: "port/80".into() }, vec![far.into()]);
    assert_eq!(keeper.keys(), ["port/80"]);
    keeper.kill_supervisor();
    keeper.send(&Word::Get { key: "port/80".into() }, vec![]);
    let (_, mut descriptors) =
        keeper.wait(|notice| matches!(notice, Notice::Descriptor { .. }).then_some(()));
    let far = std::os::unix::net::UnixStream::from(descriptors.remove(0));
    assert!(far.as_raw_fd() > 2);
    (&far).write_all(b"x").expect("written");
    near.read_exact(&mut [0]).expect("the same socket");
    keeper.send(&Word::Drop { key: "port/80".into() }, vec![]);
    drop(far);
    assert_eq!(near.read(&mut [0]).expect("closed everywhere"), 0);
}

#[test]
fn the_cgroup_is_joined_and_its_own_root() {
    let Some(mut keeper) = Keeper::start_new() else { return };
    let (v1, v2) = (Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/cgroup.procs"));
    let parent = if v1.is_dir() { v1 } else { v2.parent().expect("a directory") };
    let own = parent.join(format!("rcompose-test-{}", std::process::id()));
    if fs::create_dir(&own).is_err() {
        return skip("a cgroup directory that may be written");
    }
    let mut spec = keeper.spec(
        "grouped",
        "grep -E 'pids|^0::' /proc/self/cgroup | cut -d: -f3; cat /sys/fs/cgroup/$0/pids.max",
    );
    spec.process.argv.push(if v1.is_dir() { "pids".into() } else { ".".into() });
    let handles = Handles { cgroup: vec![own.join("cgroup.procs")], ..Handles::default() };
    let prepared = create::operations(&spec, handles).expect("a launch");
    let started = keeper.launch("grouped", prepared);
    let result = started.map(|mut started| {
        let out = read_all(started.descriptors.remove("out").expect("out"));
        (out, keeper.exit("grouped").code)
    });
    // The kernel empties it only after the exit was told.
    while fs::remove_dir(&own).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
        std::thread::yield_now();
    }
    let (output, code) = result.expect("started");
    assert_eq!(code, Some(0), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.first() == Some(&"/") && lines.last() == Some(&"77"), "{output}");
}
