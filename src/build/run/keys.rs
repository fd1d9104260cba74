//! Private keys out of files, and an agent of our own that signs with them: `ssh: [id=FILE]`.
//!
//! Keys are read as `ssh-keygen` writes them (openssh/PROTOCOL.key), and signatures asked for as any agent is asked
//! (draft-ietf-sshm-ssh-agent). A step gets signatures; a key never leaves this process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use ring::{rsa, signature};

/// Larger files are no keys, larger questions none of an agent's (ssh asks for less than 256 KiB).
const LARGEST: u64 = 256 << 10;
const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

// Messages of the protocol.
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Why a file is no key that we can use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the key `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else, or a key of another kind.
    #[error("`{}` is no key that can be used: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
}

impl Error {
    /// What helps.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Error::Read { .. } => Vec::new(),
            Error::Unusable { .. } => {
                vec!["give the key to an agent with `ssh-add FILE`, and write `ssh: [default]`".to_owned()]
            }
        }
    }
}

/// A key that signs.
#[derive(Debug)]
pub struct Key {
    public: Vec<u8>,
    comment: Vec<u8>,
    signer: Signer,
}

#[derive(Debug)]
enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa { name: &'static str, pair: EcdsaKeyPair },
    Rsa(RsaKeyPair),
}

impl Key {
    /// Reads a key from a file.
    pub fn read(path: &Path) -> Result<Key, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text)).map_err(failed)?;
        Key::parse(&text).map_err(|reason| Error::Unusable { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Key, &'static str> {
        let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
        let (body, _) = body.ok_or("it is not in the form of OpenSSH")?;
        let digits: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(digits).map_err(|_| "it is damaged")?;
        let rest = bytes.strip_prefix(MAGIC).ok_or("it is of an unknown version")?;
        read_file(&mut Reader(rest)).ok_or("it is damaged").flatten()
    }

    fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let mut signature = Vec::new();
        match &self.signer {
            Signer::Ed25519(pair) => {
                put(&mut signature, b"ssh-ed25519");
                put(&mut signature, pair.sign(data).as_ref());
            }
            Signer::Ecdsa { name, pair } => {
                let both = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = both.as_ref().split_at(both.as_ref().len() / 2);
                let mut numbers = Vec::new();
                put_number(&mut numbers, r);
                put_number(&mut numbers, s);
                put(&mut signature, name.as_bytes());
                put(&mut signature, &numbers);
            }
            Signer::Rsa(pair) => {
                let (name, how): (&[u8], &'static dyn RsaEncoding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => (b"rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => (b"rsa-sha2-256", &RSA_PKCS1_SHA256),
                    // The oldest form signs a SHA-1 sum, which nobody should take any more.
                    _ => return None,
                };
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(how, &SystemRandom::new(), data, &mut signed).ok()?;
                put(&mut signature, name);
                put(&mut signature, &signed);
            }
        }
        Some(signature)
    }
}

/// What stands behind the magic; `None` when it ends too early.
fn read_file(file: &mut Reader<'_>) -> Option<Result<Key, &'static str>> {
    if file.string()? != b"none" {
        return Some(Err("it is protected by a passphrase"));
    }
    let (_, _, count) = (file.string()?, file.string()?, file.number()?);
    let public = file.string()?.to_vec();
    let mut secret = Reader(file.string()?);
    // Both are the same when a passphrase was right; there is none.
    let checks = (secret.number()?, secret.number()?);
    if count != 1 || checks.0 != checks.1 {
        return Some(Err("it is damaged"));
    }
    let signer = match secret.string()? {
        b"ssh-ed25519" => {
            let (public, secret) = (secret.string()?, secret.string()?);
            Ed25519KeyPair::from_seed_and_public_key(secret.get(..32)?, public).map(Signer::Ed25519).ok()
        }
        b"ecdsa-sha2-nistp256" => {
            ecdsa(&mut secret, "ecdsa-sha2-nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32)?
        }
        b"ecdsa-sha2-nistp384" => {
            ecdsa(&mut secret, "ecdsa-sha2-nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48)?
        }
        b"ssh-rsa" => rsa_pair(&mut secret)?,
        _ => return Some(Err("it is neither ed25519 nor ecdsa (256, 384) nor rsa")),
    };
    let comment = secret.string()?.to_vec();
    Some(signer.ok_or("its numbers do not belong together").map(|signer| Key { public, comment, signer }))
}

fn ecdsa(
    secret: &mut Reader<'_>,
    name: &'static str,
    how: &'static signature::EcdsaSigningAlgorithm,
    length: usize,
) -> Option<Option<Signer>> {
    let (_, public, number) = (secret.string()?, secret.string()?, secret.string()?);
    let number = padded(number, length)?;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(how, &number, public, &SystemRandom::new());
    Some(pair.ok().map(|pair| Signer::Ecdsa { name, pair }))
}

fn rsa_pair(secret: &mut Reader<'_>) -> Option<Option<Signer>> {
    let mut number = || secret.string().map(|bytes| without_zeros(bytes).to_vec());
    let (n, e, d, q_inv, p, q) = (number()?, number()?, number()?, number()?, number()?, number()?);
    let components = rsa::KeyPairComponents {
        public_key: rsa::PublicKeyComponents { n, e },
        dP: remainder(&d, &less_one(&p)),
        dQ: remainder(&d, &less_one(&q)),
        qInv: q_inv,
        d,
        p,
        q,
    };
    Some(RsaKeyPair::from_components(&components).ok().map(Signer::Rsa))
}

/// A number less one; it is odd, as primes are.
fn less_one(number: &[u8]) -> Vec<u8> {
    let mut number = number.to_vec();
    if let Some(last) = number.last_mut() {
        *last &= !1;
    }
    number
}

/// What is left of a number, the most significant byte first, when it is divided by another: digit by digit, in two.
fn remainder(number: &[u8], by: &[u8]) -> Vec<u8> {
    let by: Vec<u8> = std::iter::once(0).chain(without_zeros(by).iter().copied()).collect();
    let mut left = vec![0u8; by.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        let mut carry = bit;
        for byte in left.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if left >= by {
            let mut borrow = false;
            for (byte, less) in left.iter_mut().rev().zip(by.iter().rev()) {
                let (once, first) = byte.overflowing_sub(*less);
                let (twice, second) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, first || second);
            }
        }
    }
    without_zeros(&left).to_vec()
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

/// A number with zeros before it; `None` when it is too long.
fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let number = without_zeros(number);
    let zeros = length.checked_sub(number.len())?;
    Some([&vec![0; zeros], number].concat())
}

/// Takes the fields of a message of ssh (RFC 4251, 5).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }
}

fn put(message: &mut Vec<u8>, string: &[u8]) {
    message.extend((string.len() as u32).to_be_bytes());
    message.extend(string);
}

/// A number that is not negative: its first bit is zero.
fn put_number(message: &mut Vec<u8>, number: &[u8]) {
    let number = without_zeros(number);
    let sign: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    put(message, &[sign, number].concat());
}

/// Answers questions until who asks is gone.
pub fn serve(keys: &Arc<Vec<Key>>, mut stream: UnixStream) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let length = u64::from(u32::from_be_bytes(length));
        let mut question = Vec::new();
        let read = Read::by_ref(&mut stream).take(length.min(LARGEST)).read_to_end(&mut question);
        if read.is_err() || question.len() as u64 != length {
            return;
        }
        let answer = answer(keys, &question).unwrap_or_else(|| vec![FAILURE]);
        let mut message = Vec::new();
        put(&mut message, &answer);
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

fn answer(keys: &[Key], question: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(question);
    match reader.take(1)? {
        [REQUEST_IDENTITIES] => {
            let mut answer = vec![IDENTITIES];
            answer.extend((keys.len() as u32).to_be_bytes());
            for key in keys {
                put(&mut answer, &key.public);
                put(&mut answer, &key.comment);
            }
            Some(answer)
        }
        [SIGN_REQUEST] => {
            let (public, data, flags) = (reader.string()?, reader.string()?, reader.number()?);
            let key = keys.iter().find(|key| key.public == public)?;
            let mut answer = vec![SIGN_RESPONSE];
            put(&mut answer, &key.sign(data, flags)?);
            Some(answer)
        }
        // What would add keys, or take them away.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_left_of_a_division() {
        let check = |number: u64, by: u64| {
            let found = remainder(&number.to_be_bytes(), &by.to_be_bytes());
            assert_eq!(padded(&found, 8), Some((number % by).to_be_bytes().to_vec()), "{number} % {by}");
        };
        for (number, by) in [(7, 7), (8, 7), (6, 7), (u64::MAX, 3), (u64::MAX, u64::MAX - 1), (1 << 63, 255)]
        {
            check(number, by);
        }
        assert_eq!(less_one(&[1, 7]), [1, 6]);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refused = |text: &str| Key::parse(text).expect_err("no key");
        assert!(refused("-----BEGIN RSA PRIVATE KEY-----").contains("form of OpenSSH"));
        assert!(refused(&format!("{BEGIN}\n!\n{END}")).contains("damaged"));
        let short = STANDARD.encode([MAGIC, b"\0\0\0\x04none\0\0"].concat());
        assert!(refused(&format!("{BEGIN}\n{short}\n{END}")).contains("damaged"));
        let locked = STANDARD.encode([MAGIC, b"\0\0\0\x03aes"].concat());
        assert!(refused(&format!("{BEGIN}\n{locked}\n{END}")).contains("passphrase"));
    }

    /// A signature by `ssh-keygen -Y sign`, which asks our agent, holds before `ssh-keygen -Y check-novalidate`.
    #[test]
    #[expect(clippy::print_stderr, reason = "a test that is passed over says why")]
    fn the_programs_of_openssh_take_what_it_signs() {
        if Command::new("ssh-keygen").arg("-?").output().is_err() {
            eprintln!("passed over: this host lacks ssh-keygen");
            return;
        }
        for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("rsa", "2048")] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = |name: &str| directory.path().join(name);
            let keygen = |arguments: &[&str], input: &Path| {
                let mut command = Command::new("ssh-keygen");
                command.args(arguments).current_dir(directory.path()).env("SSH_AUTH_SOCK", path("agent"));
                command.stdin(File::open(input).expect("open")).output().expect("run")
            };
            let made = keygen(
                &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "a key", "-f", "key"],
                Path::new("/dev/null"),
            );
            assert!(made.status.success(), "{made:?}");
            let key = Key::read(&path("key")).expect("a key");
            // With the private half gone, only an agent can sign.
            std::fs::remove_file(path("key")).expect("removed");
            let listener = std::os::unix::net::UnixListener::bind(path("agent")).expect("bound");
            let keys = Arc::new(vec![key]);
            std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(&keys, stream)));
            std::fs::write(path("text"), "what is signed\n").expect("written");
            let signed =
                keygen(&["-Y", "sign", "-f", "key.pub", "-n", "test", "text"], Path::new("/dev/null"));
            assert!(signed.status.success(), "{kind} {bits}: {}", String::from_utf8_lossy(&signed.stderr));
            let checked = keygen(&["-Y", "check-novalidate", "-n", "test", "-s", "text.sig"], &path("text"));
            assert!(checked.status.success(), "{kind} {bits}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
