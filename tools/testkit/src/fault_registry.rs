//! A registry that misbehaves as a test wants it to: an image in memory, and a function that may answer in its place.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerfs::Digest;
use serde_json::json;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub struct Served {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Config and layers by their digests.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// The digests of the layers, base first.
    pub layers: Vec<String>,
}

impl Served {
    /// An image of these tars, as they are and compressed.
    pub fn new(layers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|(plain, _)| Digest::hash(plain)).collect();
        let config = serde_json::to_vec(&super::image::config(&diff_ids)).unwrap();
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "size": bytes.len(), "digest": Digest::hash(bytes).to_string()});
        let described: Vec<_> = layers.iter().map(|(_, packed)| descriptor(LAYER, packed)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": described,
        });
        let digests = layers.iter().map(|(_, packed)| Digest::hash(packed).to_string()).collect();
        let mut blobs: BTreeMap<String, Vec<u8>> =
            layers.iter().map(|(_, packed)| (Digest::hash(packed).to_string(), packed.clone())).collect();
        blobs.insert(Digest::hash(&config).to_string(), config);
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), blobs, layers: digests }
    }

    /// What a registry without faults answers.
    pub fn answer(&self, asked: &Asked) -> Reply {
        if asked.path.contains("/manifests/") {
            let digest = Digest::hash(&self.manifest).to_string();
            return Reply::new(200, &self.manifest)
                .with("Content-Type", MANIFEST)
                .with("Docker-Content-Digest", &digest);
        }
        let Some(blob) = asked.blob().and_then(|digest| self.blobs.get(digest)) else {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        match asked.range() {
            None | Some((0, None)) => Reply::new(200, blob).with("Accept-Ranges", "bytes"),
            Some((from, last)) if from < blob.len() => {
                let last = last.unwrap_or(usize::MAX).min(blob.len() - 1);
                let range = format!("bytes {from}-{last}/{}", blob.len());
                Reply::new(206, &blob[from..=last]).with("Content-Range", &range)
            }
            Some(_) => Reply::new(416, b""),
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The headers; their names are in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent, as far as it came.
    pub body: Vec<u8>,
    /// How many requests for the same path came before it.
    pub before: usize,
}

impl Asked {
    /// The digest of the blob that is asked for.
    pub fn blob(&self) -> Option<&str> {
        self.path.split_once("/blobs/")?.1.split('?').next()
    }

    /// The first byte of the range that is asked for.
    pub fn from(&self) -> Option<usize> {
        Some(self.range()?.0)
    }

    /// The first byte and the last one of the range that is asked for; no last one if all of the rest is.
    pub fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    }
}

/// What becomes of the connection after some bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It ends as it should.
    End,
    /// It is closed after this many bytes.
    Cut(usize),
    /// Nothing comes after this many bytes.
    Silence(usize),
    /// A byte comes now and then after this many bytes.
    Trickle(usize),
    /// More and more bytes come.
    Endless,
    /// It ends as it should, but brings no more than this many bytes in each hundredth of a second.
    Slow(usize),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its number.
    pub status: u16,
    /// The headers besides `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What becomes of the connection.
    pub then: Then,
    /// Whether the length of the body is told.
    pub length: bool,
}

impl Reply {
    /// An answer with this body.
    pub fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), then: Then::End, length: true }
    }

    /// An error as registries report it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        Self::new(status, body.as_bytes()).with("Content-Type", "application/json")
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another end.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// A registry on the loopback interface, speaking plain HTTP. Ends with the value.
#[derive(Debug)]
pub struct FaultRegistry {
    /// `127.0.0.1:PORT`
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl FaultRegistry {
    /// Starts it; `answer` says what is answered to each request.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_hanging_up(|_| None, answer)
    }

    /// Starts it so that it hangs up on some requests after the number of bytes of their bodies that `hang_up` says, when
    /// `answer` was told of what came.
    pub fn start_hanging_up(
        hang_up: impl Fn(&Asked) -> Option<u64> + Send + Sync + 'static,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, end, answer) = (Arc::clone(&asked), Arc::clone(&ended), Arc::new((hang_up, answer)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (log, end, answer) = (Arc::clone(&log), Arc::clone(&end), Arc::clone(&answer));
                let Ok(stream) = stream else { continue };
                // A client that has hung up is no fault of this server.
                std::thread::spawn(move || drop(serve(stream, &log, &end, &answer.0, &answer.1)));
            }
        });
        Self { host, asked, ended }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next client.
        drop(TcpStream::connect(&self.host));
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    ended: &AtomicBool,
    hang_up: &dyn Fn(&Asked) -> Option<u64>,
    answer: &dyn Fn(&Asked) -> Reply,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut first = [0];
    // The beginning of a TLS handshake.
    if stream.peek(&mut first)? == 0 || first[0] == 0x16 {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length: &String| length.parse().ok()).unwrap_or(0);
    let mut asked = Asked { method, path, headers, body: Vec::new(), before: 0 };
    let breaks = hang_up(&asked);
    input.take(breaks.unwrap_or(length)).read_to_end(&mut asked.body)?;
    {
        let mut log = log.lock().unwrap();
        let is_same = |earlier: &&Asked| earlier.path == asked.path && earlier.method == asked.method;
        asked.before = log.iter().filter(is_same).count();
        log.push(asked.clone());
    }
    let reply = answer(&asked);
    if breaks.is_some() {
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if reply.length {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let pause = || std::thread::sleep(Duration::from_millis(100));
    let part = |length: usize| &reply.body[..length.min(reply.body.len())];
    match reply.then {
        Then::End => stream.write_all(&reply.body),
        Then::Cut(length) => stream.write_all(part(length)),
        Then::Silence(length) => {
            stream.write_all(part(length))?;
            while !ended.load(Ordering::Relaxed) {
                pause();
            }
            Ok(())
        }
        Then::Trickle(length) => {
            stream.write_all(part(length))?;
            for byte in &reply.body[length.min(reply.body.len())..] {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                stream.write_all(&[*byte])?;
                pause();
            }
            Ok(())
        }
        Then::Slow(bytes) => {
            for piece in reply.body.chunks(bytes) {
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        Then::Endless => {
            stream.write_all(&reply.body)?;
            // Time enough to take the body for all that there is.
            pause();
            while !ended.load(Ordering::Relaxed) {
                stream.write_all(&[0; 65536])?;
            }
            Ok(())
        }
    }
}
