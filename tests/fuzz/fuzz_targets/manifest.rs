//! Index, manifest and configuration of an image, and the names in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcompose::image::config::{self, Document, ImageConfig};
use rcompose::image::{Digest, Platform, Reference, Source};

fuzz_target!(|input: &[u8]| {
    match Document::parse("it", input) {
        Ok(Document::Index(index)) => {
            let all = index.manifests().len();
            for wanted in ["linux/amd64", "linux/arm/v6", "linux/arm64/v9"] {
                let wanted: Platform = wanted.parse().expect("a platform");
                assert!(config::candidates(&index, &wanted).len() <= all);
            }
            config::platforms(&index);
            index.manifests().iter().for_each(|entry| drop(config::digest_of(entry)));
        }
        Ok(Document::Manifest(manifest)) => {
            manifest.layers().iter().for_each(|layer| drop(config::digest_of(layer)));
        }
        Err(_) => {}
    }
    if let Ok(config) = ImageConfig::parse("it", input) {
        assert_eq!(config.chain_ids().len(), config.diff_ids.len());
        let again = ImageConfig::parse("it", &config.to_json()).expect("what we write we read");
        assert_eq!(again.to_json(), config.to_json());
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().expect("the complete spelling"), reference);
        assert_eq!(reference.familiar().parse::<Reference>().expect("the familiar spelling"), reference);
    }
    if let Ok(source) = text.parse::<Source>() {
        assert_eq!(source.to_string().parse::<Source>().expect("its own spelling"), source);
    }
    drop(text.parse::<Digest>());
    drop(text.parse::<Platform>());
});
