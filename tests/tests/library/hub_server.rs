//! A server that speaks the Hub's protocol for one repository, and can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Commit that every revision resolves to.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Name of the repository.
pub(crate) const ID: &str = "AIDC-AI/Ovis-Image-7B";

/// Faults to simulate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A file, the number of bytes after which each answer breaks off, and how often.
    pub(crate) cut: Option<(&'static str, usize, usize)>,
    /// A file whose contents differ from the announced ones.
    pub(crate) damaged: Option<&'static str>,
    /// Status for every request.
    pub(crate) status: Option<u16>,
    /// Tag that replaces each file's hash.
    pub(crate) tag: Option<&'static str>,
    /// Answer that replaces the list of files.
    pub(crate) listing: Option<&'static str>,
    /// A file, the number of bytes after which each answer stalls, and how often.
    pub(crate) stalled: Option<(&'static str, usize, usize)>,
    /// Whether no request is ever answered.
    pub(crate) silent: bool,
    /// Whether every answer contains the whole file, whatever range was requested.
    pub(crate) no_parts: bool,
}

/// A running server.
pub(crate) struct HubServer {
    /// Address of the server.
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

/// A received request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Value of `Authorization`.
    pub(crate) token: Option<String>,
    /// Whether only the headers were requested.
    is_head: bool,
    /// First requested byte.
    from: u64,
}

type Files = Arc<BTreeMap<String, Vec<u8>>>;

impl HubServer {
    /// Serves a folder's files and some additional ones.
    pub(crate) fn start(folder: &Path, more: &[(&str, &[u8])]) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, "", &mut files);
        for (name, bytes) in more {
            files.insert((*name).to_owned(), bytes.to_vec());
        }
        let files: Files = Arc::new(files);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            url,
            requests: Arc::default(),
            faults: Arc::default(),
        };
        let (requests, faults) = (Arc::clone(&server.requests), Arc::clone(&server.faults));
        let url = server.url.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that disconnects is not a failure of the server.
                let _ = answer(stream, &url, &files, &requests, &faults);
            }
        });
        server
    }

    /// Lists the files whose contents were requested, by name, with the first byte.
    pub(crate) fn downloads(&self) -> Vec<(String, u64)> {
        let requests = self.requests.lock().unwrap();
        let contents = requests.iter().filter(|request| !request.is_head);
        contents
            .filter_map(|request| Some((contents_of(&request.path)?.to_owned(), request.from)))
            .collect()
    }
}

/// Path of small files, which the server has itself.
const SMALL: &str = "/api/resolve-cache/";
/// Path of large files, under another host name.
const LARGE: &str = "/cdn/";

fn contents_of(path: &str) -> Option<&str> {
    path.strip_prefix(SMALL)
        .or_else(|| path.strip_prefix(LARGE))
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

/// Returns the Hub's tag of a file: its SHA-256, or git's hash of it.
fn tag_of(file: &str, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| -> String { digest.iter().map(|b| format!("{b:02x}")).collect() };
    if is_large(file) {
        return hex(&Sha256::digest(bytes));
    }
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex(&hasher.finalize())
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn answer(
    mut stream: TcpStream,
    url: &str,
    files: &Files,
    requests: &Mutex<Vec<Request>>,
    faults: &Mutex<Faults>,
) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    requests.lock().unwrap().push(request.clone());
    let Request { path, is_head, .. } = &request;
    let faulty = faults.lock().unwrap().clone();
    if faulty.silent {
        // The connection stays open.
        std::mem::forget(stream);
        return Ok(());
    }
    if let Some(status) = faulty.status {
        return send_empty(&mut stream, &format!("{status} Refused"));
    }
    if path.starts_with(&format!("/api/models/{ID}/revision/")) {
        return send_listing(&mut stream, files, faulty.listing);
    }
    // As on the Hub, large files are elsewhere and small ones behind a redirect of the host's own.
    if let Some(file) = path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"))
        && let Some(bytes) = files.get(file)
    {
        return send_redirect(&mut stream, url, file, bytes, faulty.tag);
    }
    if let Some(file) = contents_of(path)
        && let Some(bytes) = files.get(file)
    {
        let mut bytes = bytes.clone();
        let tag = tag_of(file, &bytes);
        let tag = faulty.tag.unwrap_or(&tag);
        if faulty.damaged == Some(file) {
            bytes[0] ^= 1;
        }
        let from = if faulty.no_parts { 0 } else { request.from };
        let (from, total) = (from as usize, bytes.len());
        let body = &bytes[from..];
        let status = if from == 0 {
            "200 OK".to_owned()
        } else {
            let last = total - 1;
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{total}")
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: W/\"{tag}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        if *is_head {
            return Ok(());
        }
        let mut faults = faults.lock().unwrap();
        if let Some(after) = part_of(&mut faults.cut, file) {
            return stream.write_all(&body[..body.len().min(after)]);
        }
        if let Some(after) = part_of(&mut faults.stalled, file) {
            let written = stream.write_all(&body[..body.len().min(after)]);
            std::mem::forget(stream);
            return written;
        }
        return stream.write_all(body);
    }
    send_empty(&mut stream, "404 Not Found")
}

fn send_empty(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

fn send_listing(
    stream: &mut TcpStream,
    files: &Files,
    faulty: Option<&str>,
) -> std::io::Result<()> {
    let siblings: Vec<_> = files
        .keys()
        .map(|name| serde_json::json!({ "rfilename": name }))
        .collect();
    let listing = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
    let listing = faulty.unwrap_or(&listing);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{listing}",
        listing.len()
    )
}

fn send_redirect(
    stream: &mut TcpStream,
    url: &str,
    file: &str,
    bytes: &[u8],
    faulty: Option<&str>,
) -> std::io::Result<()> {
    let tag = tag_of(file, bytes);
    let tag = faulty.unwrap_or(&tag);
    let to = if is_large(file) {
        let size = bytes.len();
        // Another name counts as another host, which must not see the token.
        let elsewhere = url.replace("127.0.0.1", "localhost");
        format!("{elsewhere}{LARGE}{file}\r\nX-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {size}")
    } else {
        let file = file.replace(' ', "%20");
        format!("{SMALL}{file}\r\nETag: W/\"{tag}\"")
    };
    write!(
        stream,
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// Returns the number of bytes after which an answer with a file ends this time.
fn part_of(fault: &mut Option<(&'static str, usize, usize)>, file: &str) -> Option<usize> {
    let (faulty, after, times) = fault.as_mut()?;
    if *faulty != file || *times == 0 {
        return None;
    }
    *times -= 1;
    Some(*after)
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request = Request {
        path: first
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .replace("%20", " "),
        is_head: first.starts_with("HEAD "),
        ..Request::default()
    };
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.trim_start_matches("bytes=").trim_end_matches('-');
                request.from = from.parse().unwrap_or(0);
            }
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(request)
}
