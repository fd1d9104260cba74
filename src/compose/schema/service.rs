//! Services: the largest part of the specification.

use super::Shape::{Either, Int, Later, List, Map, Scalar, Size, Test, Word};
use super::*;

/// A service.
pub static SERVICE: Shape = Shape::Object(&object(
    "a service",
    &[
        key("annotations", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
        key("attach", &TRUE_OR_FALSE),
        key("blkio_config", &BLKIO),
        key("build", &BUILD).merge(Merge::Build),
        key("cap_add", &UNIQUE_STRINGS).unique(Unique::Name),
        key("cap_drop", &UNIQUE_STRINGS).unique(Unique::Name),
        key("cgroup", &Word(&["host", "private"])),
        key("cgroup_parent", &STRING),
        key("command", &COMMAND).merge(Merge::Replace),
        key("configs", &FILE_REFERENCES).unique(Unique::Mount("")),
        key("container_name", &CONTAINER_NAME),
        key("cpu_count", &Int(0, i64::MAX)),
        key("cpu_percent", &Int(0, 100)),
        key("cpu_period", &COUNT),
        key("cpu_quota", &COUNT),
        key("cpu_rt_period", &COUNT),
        key("cpu_rt_runtime", &COUNT),
        key("cpu_shares", &COUNT),
        key("cpus", &NUMERIC),
        key("cpuset", &STRING),
        key("credential_spec", &CREDENTIAL_SPEC),
        key("depends_on", &DEPENDS_ON).merge(Merge::DependsOn),
        key("deploy", &DEPLOY),
        key("develop", &DEVELOP),
        key("device_cgroup_rules", &UNIQUE_STRINGS),
        key("devices", &List(&Either(&[&STRING, &DEVICE]), true)).unique(Unique::Target),
        key("dns", &STRING_OR_LIST).merge(Merge::Sequence).unique(Unique::Name),
        key("dns_opt", &UNIQUE_STRINGS).merge(Merge::Sequence).unique(Unique::Name),
        key("dns_search", &STRING_OR_LIST).merge(Merge::Sequence).unique(Unique::Name),
        key("domainname", &STRING),
        key("entrypoint", &COMMAND).merge(Merge::Replace),
        key("env_file", &ENV_FILE).merge(Merge::Sequence).unique(Unique::EnvFile),
        key("environment", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
        key("expose", &List(&STRING_OR_INTEGER, false)).unique(Unique::Value),
        key("extends", &EXTENDS),
        key("external_links", &UNIQUE_STRINGS),
        key("extra_hosts", &HOSTS).merge(Merge::Hosts),
        key("gpus", &GPUS),
        key("group_add", &List(&STRING_OR_INTEGER, false)),
        key("healthcheck", &HEALTHCHECK),
        key("hostname", &STRING),
        key("image", &STRING),
        key("init", &TRUE_OR_FALSE),
        key("ipc", &STRING),
        key("isolation", &STRING),
        key("label_file", &Either(&[&STRING, &STRINGS])).merge(Merge::Sequence),
        key("labels", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
        key("links", &UNIQUE_STRINGS).unique(Unique::Name),
        key("logging", &LOGGING).merge(Merge::Logging),
        key("mac_address", &STRING),
        key("mem_limit", &SIZE),
        key("mem_reservation", &WHOLE_SIZE),
        key("mem_swappiness", &WHOLE_SIZE),
        key("memswap_limit", &SIZE),
        key("models", &SERVICE_MODELS).merge(Merge::Keyed),
        key("network_mode", &STRING),
        key("networks", &SERVICE_NETWORKS).merge(Merge::Keyed),
        key("oom_kill_disable", &TRUE_OR_FALSE),
        key("oom_score_adj", &Int(-1000, 1000)),
        key("pid", &STRING_OR_NULL),
        key("pids_limit", &COUNT),
        key("platform", &STRING),
        key("ports", &List(&Either(&[&STRING_OR_NUMBER, &PORT]), false)).unique(Unique::Port),
        key("post_start", &List(&HOOK, true)),
        key("pre_stop", &List(&HOOK, true)),
        key("privileged", &TRUE_OR_FALSE),
        key("profiles", &UNIQUE_STRINGS).unique(Unique::Name),
        key("provider", &PROVIDER),
        key("pre_start", &PRE_START),
        key("pull_policy", &PULL_POLICY),
        key("pull_refresh_after", &STRING),
        key("read_only", &TRUE_OR_FALSE),
        key("restart", &RESTART),
        key("runtime", &STRING),
        key("scale", &INTEGER),
        key("secrets", &FILE_REFERENCES).unique(Unique::Mount("/run/secrets")),
        key("security_opt", &UNIQUE_STRINGS),
        key("shm_size", &SIZE),
        key("stdin_open", &TRUE_OR_FALSE),
        key("stop_grace_period", &DURATION),
        key("stop_signal", &STRING),
        key("storage_opt", &Map(Names::Free, &Scalar(TEXT | NUMBER | NULL))),
        key("sysctls", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
        key("tmpfs", &STRING_OR_LIST).merge(Merge::Sequence).unique(Unique::Name),
        key("tty", &TRUE_OR_FALSE),
        key("ulimits", &ULIMITS).merge(Merge::ByKey),
        key("use_api_socket", &STRICT_BOOL),
        key("user", &STRING),
        key("userns_mode", &STRING),
        key("uts", &STRING),
        key("volumes", &List(&Either(&[&STRING, &MOUNT]), false)).unique(Unique::Target),
        key("volumes_from", &UNIQUE_STRINGS),
        key("working_dir", &STRING),
    ],
));

static CONTAINER_NAME: Shape = Test {
    pattern: "^[a-zA-Z0-9][a-zA-Z0-9_.-]+$",
    wanted: "a letter or digit, then letters, digits, `_`, `.` or `-`",
};
static PRE_START: Shape = Later(
    "run it as a service of its own, and let this one depend on it with `condition: service_completed_successfully`",
);
static PULL_POLICY: Shape = Test {
    pattern: "^(always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+)$",
    wanted: "always, never, missing, build, daily, weekly or `every_` and a time",
};
/// Nothing is what a variable without a value leaves; it asks for nothing.
static RESTART: Shape = Test {
    pattern: "^(|no|always|unless-stopped|on-failure(:[0-9]{1,9})?)$",
    wanted: "no, always, unless-stopped, on-failure or `on-failure:` and a number",
};

static BLKIO: Shape = Shape::Object(&closed(object(
    "blkio_config",
    &[
        key("device_read_bps", &List(&BLKIO_RATE, true)),
        key("device_read_iops", &List(&BLKIO_RATE, true)),
        key("device_write_bps", &List(&BLKIO_RATE, true)),
        key("device_write_iops", &List(&BLKIO_RATE, true)),
        key("weight", &WEIGHT),
        key("weight_device", &List(&BLKIO_WEIGHT, true)),
    ],
)));
static BLKIO_RATE: Shape =
    Shape::Object(&closed(object("a rate", &[key("path", &STRING), key("rate", &WHOLE_SIZE)])));
static BLKIO_WEIGHT: Shape =
    Shape::Object(&closed(object("a weight", &[key("path", &STRING), key("weight", &WEIGHT)])));
static WEIGHT: Shape = Int(0, u16::MAX as i64);

static BUILD: Shape = Either(&[
    &STRING,
    &Shape::Object(&object(
        "build",
        &[
            key("additional_contexts", &CONTEXTS).merge(Merge::Sequence),
            key("args", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
            key("cache_from", &STRINGS),
            key("cache_to", &STRINGS),
            key("context", &STRING),
            key("dockerfile", &STRING),
            key("dockerfile_inline", &STRING),
            key("entitlements", &STRINGS),
            key("extra_hosts", &HOSTS).merge(Merge::Hosts),
            key("isolation", &STRING),
            key("labels", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
            key("network", &STRING),
            key("no_cache", &TRUE_OR_FALSE),
            key("no_cache_filter", &Later("leave it out; `no_cache: true` is for all stages")),
            key("platforms", &STRINGS),
            key("privileged", &TRUE_OR_FALSE),
            key("provenance", &BUILD_TEXT),
            key("pull", &TRUE_OR_FALSE),
            key("sbom", &BUILD_TEXT),
            key("secrets", &FILE_REFERENCES),
            key("shm_size", &WHOLE_SIZE),
            key("ssh", &LIST_OR_MAP),
            key("tags", &STRINGS).unique(Unique::Name),
            key("target", &STRING),
            key("ulimits", &ULIMITS).merge(Merge::ByKey),
        ],
    )),
]);

static CONTEXTS: Shape = Either(&[&Map(Names::Free, &STRING), &UNIQUE_STRINGS]);

static CREDENTIAL_SPEC: Shape = Shape::Object(&object(
    "credential_spec",
    &[key("config", &STRING), key("file", &STRING), key("registry", &STRING)],
));

static DEPENDS_ON: Shape = Either(&[
    &UNIQUE_STRINGS,
    &Map(
        Names::Resource,
        &Shape::Object(&required(
            &["condition"],
            object(
                "a dependency",
                &[
                    key(
                        "condition",
                        &Word(&["service_started", "service_healthy", "service_completed_successfully"]),
                    ),
                    key("required", &STRICT_BOOL),
                    key("restart", &TRUE_OR_FALSE),
                ],
            ),
        )),
    ),
]);

static DEPLOY: Shape = Either(&[
    &Scalar(NULL),
    &Shape::Object(&object(
        "deploy",
        &[
            key("endpoint_mode", &STRING),
            key("labels", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
            key("mode", &STRING),
            key("placement", &PLACEMENT),
            key("replicas", &INTEGER),
            key("resources", &RESOURCES),
            key("restart_policy", &RESTART_POLICY),
            key("rollback_config", &UPDATE_CONFIG),
            key("update_config", &UPDATE_CONFIG),
        ],
    )),
]);
static PLACEMENT: Shape = Shape::Object(&object(
    "placement",
    &[
        key("constraints", &STRINGS),
        key("max_replicas_per_node", &COUNTER),
        key("preferences", &List(&Shape::Object(&object("a preference", &[key("spread", &STRING)])), true)),
    ],
));
static RESOURCES: Shape =
    Shape::Object(&object("resources", &[key("limits", &LIMITS), key("reservations", &RESERVATIONS)]));
static LIMITS: Shape = Shape::Object(&object(
    "limits",
    &[key("cpus", &NUMERIC), key("memory", &TEXT_SIZE), key("pids", &INTEGER)],
));
static RESERVATIONS: Shape = Shape::Object(&object(
    "reservations",
    &[
        key("cpus", &NUMERIC),
        key("devices", &List(&RESERVED_DEVICE, true)),
        key("generic_resources", &List(&GENERIC_RESOURCE, true)),
        key("memory", &TEXT_SIZE),
    ],
));
static RESERVED_DEVICE: Shape =
    Shape::Object(&required(&["capabilities"], object("a device request", &DEVICE_REQUEST_KEYS)));
static GPUS: Shape = Either(&[
    &Word(&["all"]),
    &List(&Shape::Object(&object("a device request", &DEVICE_REQUEST_KEYS)), true),
]);
static DEVICE_REQUEST_KEYS: [Attribute; 5] = [
    key("capabilities", &UNIQUE_STRINGS),
    key("count", &Scalar(TEXT | INT)),
    key("device_ids", &UNIQUE_STRINGS),
    key("driver", &STRING),
    key("options", &LIST_OR_MAP),
];
static GENERIC_RESOURCE: Shape = Shape::Object(&object(
    "a resource",
    &[key(
        "discrete_resource_spec",
        &Shape::Object(&object("a counted resource", &[key("kind", &STRING), key("value", &COUNT)])),
    )],
));
static RESTART_POLICY: Shape = Shape::Object(&object(
    "restart_policy",
    &[
        key("condition", &Word(&["none", "on-failure", "any", ""])),
        key("delay", &DURATION),
        key("max_attempts", &COUNTER),
        key("window", &DURATION),
    ],
));
static UPDATE_CONFIG: Shape = Shape::Object(&object(
    "update_config",
    &[
        key("delay", &DURATION),
        key("failure_action", &STRING),
        key("max_failure_ratio", &NUMERIC),
        key("monitor", &DURATION),
        key("order", &Word(&["start-first", "stop-first"])),
        key("parallelism", &COUNTER),
    ],
));

static DEVELOP: Shape =
    Either(&[&Scalar(NULL), &Shape::Object(&object("develop", &[key("watch", &List(&WATCH, true))]))]);
static WATCH: Shape = Shape::Object(&required(
    &["path", "action"],
    object(
        "a watch rule",
        &[
            key("action", &Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
            key("exec", &HOOK),
            key("ignore", &STRING_OR_LIST),
            key("include", &STRING_OR_LIST),
            key("initial_sync", &STRICT_BOOL),
            key("path", &STRING),
            key("target", &STRING),
        ],
    ),
));

static DEVICE: Shape = Shape::Object(&required(
    &["source"],
    object("a device", &[key("permissions", &STRING), key("source", &STRING), key("target", &STRING)]),
));

static ENV_FILE: Shape = Either(&[
    &STRING,
    &List(
        &Either(&[
            &STRING,
            &Shape::Object(&closed(required(
                &["path"],
                object(
                    "an env_file",
                    &[key("format", &STRING), key("path", &STRING), key("required", &TRUE_OR_FALSE)],
                ),
            ))),
        ]),
        true,
    ),
]);

static EXTENDS: Shape = Either(&[
    &STRING,
    &Shape::Object(&closed(required(
        &["service"],
        object("extends", &[key("file", &STRING), key("service", &STRING)]),
    ))),
]);

static FILE_REFERENCES: Shape = List(
    &Either(&[
        &STRING,
        &Shape::Object(&object(
            "a reference",
            &[
                key("gid", &STRING),
                key("mode", &STRING_OR_INTEGER),
                key("source", &STRING),
                key("target", &STRING),
                key("uid", &STRING),
            ],
        )),
    ]),
    true,
);

static HEALTHCHECK: Shape = Shape::Object(&object(
    "healthcheck",
    &[
        key("disable", &TRUE_OR_FALSE),
        key("interval", &DURATION),
        key("retries", &COUNT),
        key("start_interval", &DURATION),
        key("start_period", &DURATION),
        key("test", &Either(&[&STRING, &STRINGS])).merge(Merge::Replace),
        key("timeout", &DURATION),
    ],
));

static HOOK: Shape = Shape::Object(&required(&["command"], object("a hook", &HOOK_KEYS)));
static HOOK_KEYS: [Attribute; 5] = [
    key("command", &COMMAND),
    key("environment", &LIST_OR_MAP),
    key("privileged", &TRUE_OR_FALSE),
    key("user", &STRING),
    key("working_dir", &STRING),
];

static LOGGING: Shape = Shape::Object(&object(
    "logging",
    &[key("driver", &STRING), key("options", &Map(Names::Free, &Scalar(TEXT | NUMBER | NULL)))],
));

static SERVICE_MODELS: Shape = Either(&[
    &UNIQUE_STRINGS,
    &Map(
        Names::Resource,
        &Either(&[
            &Scalar(NULL),
            &Shape::Object(&object(
                "a model of a service",
                &[key("endpoint_var", &STRING), key("model_var", &STRING)],
            )),
        ]),
    ),
]);

static SERVICE_NETWORKS: Shape = Either(&[
    &UNIQUE_STRINGS,
    &Map(
        Names::Resource,
        &Either(&[
            &Scalar(NULL),
            &Shape::Object(&object(
                "a network of a service",
                &[
                    key("aliases", &UNIQUE_STRINGS).unique(Unique::Name),
                    key("driver_opts", &OPTIONS),
                    key("gw_priority", &STRICT_NUMBER),
                    key("interface_name", &STRING),
                    key("ipv4_address", &STRING),
                    key("ipv6_address", &STRING),
                    key("link_local_ips", &UNIQUE_STRINGS).unique(Unique::Name),
                    key("mac_address", &STRING),
                    key("priority", &STRICT_NUMBER),
                ],
            )),
        ]),
    ),
]);

static PORT: Shape = Shape::Object(&object(
    "a port",
    &[
        key("app_protocol", &STRING),
        key("host_ip", &STRING),
        key("mode", &Word(&["host", "ingress", ""])),
        key("name", &STRING),
        key("protocol", &STRING),
        key("published", &Scalar(TEXT | INT)),
        key("target", &INTEGER),
    ],
));

static PROVIDER: Shape = Shape::Object(&required(
    &["type"],
    object(
        "provider",
        &[
            key(
                "options",
                &Map(
                    Names::Free,
                    &Either(&[&Scalar(TEXT | NUMBER | BOOL), &List(&Scalar(TEXT | NUMBER | BOOL), true)]),
                ),
            ),
            key("type", &STRING),
        ],
    ),
));

static ULIMITS: Shape = Map(
    Names::Free,
    &Either(&[
        &INTEGER,
        &Shape::Object(&required(
            &["soft", "hard"],
            object("a limit", &[key("hard", &INTEGER), key("soft", &INTEGER)]),
        )),
    ]),
);

static MOUNT: Shape = Shape::Object(&required(
    &["type"],
    object(
        "a mount",
        &[
            key("bind", &BIND),
            key("consistency", &STRING),
            key("image", &Shape::Object(&object("image", &[key("subpath", &STRING)]))),
            key("read_only", &TRUE_OR_FALSE),
            key("source", &STRING),
            key("target", &STRING),
            key(
                "tmpfs",
                &Shape::Object(&object(
                    "tmpfs",
                    &[key("mode", &STRING_OR_NUMBER), key("size", &Size(INT | NATURAL))],
                )),
            ),
            key("type", &Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
            key(
                "volume",
                &Shape::Object(&object(
                    "volume",
                    &[
                        key("labels", &LIST_OR_MAP).merge(Merge::Sequence),
                        key("nocopy", &TRUE_OR_FALSE),
                        key("subpath", &STRING),
                    ],
                )),
            ),
        ],
    ),
));
static BIND: Shape = Shape::Object(&object(
    "bind",
    &[
        key("create_host_path", &TRUE_OR_FALSE),
        key("propagation", &STRING),
        key("recursive", &Word(&["enabled", "disabled", "writable", "readonly"])),
        key("selinux", &Word(&["z", "Z"])),
    ],
));
