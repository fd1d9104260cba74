//! Files of the web, kept from build to build.
//!
//! `DATA/build/web/HEX` is what a URL gave last, `HEX.json` beside it what its server said of it. The server is asked
//! each time whether that still holds, unless the content is known by its checksum: then nobody is asked.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::build::cache::{KeyMaker, StepLock};
use crate::build::error::{Error, failed};
use crate::build::session::Session;
use crate::host::files::{self, Durability};
use crate::image::Digest;
use crate::image::registry::web_client;

const FORMAT: u32 = 1;

/// A file that was downloaded, now or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub digest: Digest,
    /// When it was changed, as the server says.
    pub modified: Option<(i64, u32)>,
}

/// What a server has said of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    digest: Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Session {
    /// Gets a file of the web, whose digest has to be `checksum` if there is one.
    pub fn download(&self, url: &str, checksum: Option<&str>) -> Result<Download, Error> {
        let wanted: Option<Digest> = checksum
            .map(|text| {
                text.parse().map_err(|_| Error::Unsupported {
                    what: format!("`--checksum={text}` is no digest that is known: it begins with `sha256:`"),
                    hint: None,
                })
            })
            .transpose()?;
        files::make_private_dir(&self.web)?;
        let path = self.web.join(KeyMaker::new("web").with("url", url).make().to_string());
        let _lock = StepLock::take(path.with_extension("lock"))?;
        let record_path = path.with_extension("json");
        let known: Option<Record> = match files::read_record(&record_path, FORMAT) {
            Ok(known) => known.filter(|known: &Record| known.url == url && path.exists()),
            Err(files::Error::Damaged { .. } | files::Error::Newer { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let record = match known {
            Some(known) if wanted.as_ref() == Some(&known.digest) => known,
            known => self.ask(url, known, &path, &record_path)?,
        };
        if let Some(wanted) = wanted
            && wanted != record.digest
        {
            return Err(Error::Unsupported {
                what: format!("`{url}` has the digest {}, not {wanted} as `--checksum` says", record.digest),
                hint: Some("the file has changed, or is not the one that was meant".to_owned()),
            });
        }
        // A link of its own: what the next build downloads in its place does not change under our hands.
        let own = self.directory()?.join("download");
        std::fs::hard_link(&path, &own).map_err(failed(format!("keep `{}`", path.display())))?;
        Ok(Download {
            path: own,
            modified: record.last_modified.as_deref().and_then(moment),
            digest: record.digest,
        })
    }

    /// Asks the server, and keeps what it gives.
    fn ask(
        &self,
        url: &str,
        known: Option<Record>,
        path: &Path,
        record_path: &Path,
    ) -> Result<Record, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        runtime.block_on(async {
            let cannot = |source: reqwest::Error| Error::Download { url: url.to_owned(), source };
            let parsed = reqwest::Url::parse(url).map_err(|error| Error::Unsupported {
                what: format!("`{url}` is no URL: {error}"),
                hint: None,
            })?;
            let client =
                web_client(parsed.host_str().unwrap_or_default()).map_err(crate::image::Error::from)?;
            let mut request = client.get(parsed).timeout(Duration::from_secs(3600));
            for (name, value) in known
                .iter()
                .flat_map(|known| [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)])
            {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let mut response = request.send().await.map_err(cannot)?;
            if let (StatusCode::NOT_MODIFIED, Some(known)) = (response.status(), known) {
                return Ok(known);
            }
            if !response.status().is_success() {
                return Err(Error::Status { url: url.to_owned(), status: response.status().as_u16() });
            }
            let said = response.headers().clone();
            let mut file = tempfile::Builder::new()
                .prefix(".new-")
                .tempfile_in(&self.web)
                .map_err(failed("make a file for a download"))?;
            let mut hash = Sha256::new();
            while let Some(piece) = response.chunk().await.map_err(cannot)? {
                hash.update(&piece);
                file.write_all(&piece).map_err(failed("write a download"))?;
            }
            file.persist(path).map_err(|error| failed("keep a download")(error.error))?;
            let digest: [u8; 32] = hash.finalize().into();
            let record = Record {
                url: url.to_owned(),
                digest: Digest::from_hash(&digest),
                etag: header(&said, ETAG),
                last_modified: header(&said, LAST_MODIFIED),
            };
            files::write_record(record_path, FORMAT, &record, Durability::Crash)?;
            Ok(record)
        })
    }
}

fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Reads the date of a header (RFC 9110, HTTP-date).
fn moment(text: &str) -> Option<(i64, u32)> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some((time.as_second(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_read() {
        assert_eq!(moment("Wed, 21 Oct 2015 07:28:00 GMT"), Some((1_445_412_480, 0)));
        assert_eq!(moment("yesterday"), None);
    }
}
