//! The file as a whole, and everything but services.

use super::Shape::{Either, List, Map, Scalar};
use super::*;

/// A whole file.
pub static FILE: Shape = Shape::Object(&Object {
    name: "the file",
    attributes: &[
        key("configs", &Map(Names::Resource, &CONFIG)),
        key("include", &INCLUDE),
        key("models", &Map(Names::Resource, &MODEL)),
        key("name", &STRING),
        key("networks", &Map(Names::Resource, &NETWORK)),
        key("secrets", &Map(Names::Resource, &SECRET)),
        key("services", &Map(Names::Resource, &SERVICE)),
        key("version", &STRING),
        key("volumes", &Map(Names::Resource, &VOLUME)),
    ],
    required: &[],
    extensions: true,
});

static INCLUDE: Shape = List(
    &Either(&[
        &STRING,
        &Shape::Object(&closed(object(
            "an include",
            &[
                key("env_file", &STRING_OR_LIST),
                key("path", &STRING_OR_LIST),
                key("project_directory", &STRING),
            ],
        ))),
    ]),
    true,
);

static EXTERNAL: Shape =
    Either(&[&TRUE_OR_FALSE, &Shape::Object(&object("external", &[key("name", &STRING)]))]);

static NETWORK: Shape = Either(&[
    &Scalar(NULL),
    &Shape::Object(&object(
        "a network",
        &[
            key("attachable", &TRUE_OR_FALSE),
            key("driver", &STRING),
            key("driver_opts", &OPTIONS),
            key("enable_ipv4", &TRUE_OR_FALSE),
            key("enable_ipv6", &TRUE_OR_FALSE),
            key("external", &EXTERNAL),
            key("internal", &TRUE_OR_FALSE),
            key("ipam", &IPAM),
            key("labels", &LIST_OR_MAP).merge(Merge::Sequence).unique(Unique::Name),
            key("name", &STRING),
        ],
    )),
]);
static IPAM: Shape = Shape::Object(&object(
    "ipam",
    &[
        key("config", &List(&POOL, true)).merge(Merge::Ipam),
        key("driver", &STRING),
        key("options", &Map(Names::Free, &STRING)),
    ],
));
static POOL: Shape = Shape::Object(&object(
    "a subnet",
    &[
        key("aux_addresses", &Map(Names::Free, &STRING)),
        key("gateway", &STRING),
        key("ip_range", &STRING),
        key("subnet", &STRING),
    ],
));

static VOLUME: Shape = Either(&[
    &Scalar(NULL),
    &Shape::Object(&object(
        "a volume",
        &[
            key("driver", &STRING),
            key("driver_opts", &OPTIONS),
            key("external", &EXTERNAL),
            key("labels", &LIST_OR_MAP).merge(Merge::Sequence),
            key("name", &STRING),
        ],
    )),
]);

static SECRET: Shape = Shape::Object(&object(
    "a secret",
    &[
        key("driver", &STRING),
        key("driver_opts", &OPTIONS),
        key("environment", &STRING),
        key("external", &EXTERNAL),
        key("file", &STRING),
        key("labels", &LIST_OR_MAP),
        key("name", &STRING),
        key("template_driver", &STRING),
    ],
));

static CONFIG: Shape = Shape::Object(&object(
    "a config",
    &[
        key("content", &STRING),
        key("environment", &STRING),
        key("external", &EXTERNAL),
        key("file", &STRING),
        key("labels", &LIST_OR_MAP),
        key("name", &STRING),
        key("template_driver", &STRING),
    ],
));

static MODEL: Shape = Shape::Object(&required(
    &["model"],
    object(
        "a model",
        &[
            key("context_size", &STRICT_INTEGER),
            key("model", &STRING),
            key("name", &STRING),
            key("runtime_flags", &STRINGS),
        ],
    ),
));
