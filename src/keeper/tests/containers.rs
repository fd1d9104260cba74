//! What a container is inside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::super::testing::{Keeper, skip, spec};
use crate::runtime::create::{self, Handles};

use super::*;

#[test]
fn a_container_on_the_hosts_own_programs_prints_and_ends() {
    let script = "echo hello from $$ on $(hostname); echo oops >&2; exit 7";
    check(as_usual, script, ("hello from 1 on box\noops\n", 7));
    check(
        as_usual,
        "ls /home /root /var/lib; cat /etc/hostname; tail -n1 /etc/hosts; cat /etc/resolv.conf",
        ("/home:\n\n/root:\n\n/var/lib:\nbox\n10.1.2.3\tbox\nnameserver 127.0.0.11\n", 0),
    );
    // Whoever the host's root is to this user namespace, the container's root may add to these, though not to directories in them that are the host root's.
    check(as_usual, "stat -c '%u %a' / /usr /etc; touch /usr/new /etc/new", ("0 755\n0 755\n0 755\n", 0));
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
    let tmpfs = MountSource::Tmpfs {
        size: Some(1 << 20),
        mode: Some(0o700),
        uid: None,
        gid: None,
        options: vec![],
        as_volume: false,
    };
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
            source: MountSource::Tmpfs {
                size: None,
                mode: None,
                uid: None,
                gid: None,
                options: vec![],
                as_volume: false,
            },
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
