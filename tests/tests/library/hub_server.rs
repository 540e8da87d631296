//! A server that speaks the Hub's protocol for one repository, and can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// The commit that every revision is.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The repository.
pub(crate) const ID: &str = "AIDC-AI/Ovis-Image-7B";

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A file whose connection breaks off after so many bytes of each answer, and how often.
    pub(crate) cut: Option<(&'static str, usize, usize)>,
    /// A file of which the contents are not the announced ones.
    pub(crate) damaged: Option<&'static str>,
    /// A status for every request.
    pub(crate) status: Option<u16>,
    /// A tag in place of each file's hash.
    pub(crate) tag: Option<&'static str>,
    /// An answer in place of the list of files.
    pub(crate) listing: Option<&'static str>,
}

/// A running server.
pub(crate) struct HubServer {
    /// Its address.
    pub(crate) url: String,
    /// Paths that were asked for, with the first byte that was.
    pub(crate) requests: Arc<Mutex<Vec<(String, u64)>>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

type Files = Arc<BTreeMap<String, Vec<u8>>>;

impl HubServer {
    /// Serves a folder's files and some more.
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
                // A client that goes away is no failure of the server.
                let _ = answer(stream, &url, &files, &requests, &faults);
            }
        });
        server
    }

    /// The files' contents that were asked for, by name, with the first byte.
    pub(crate) fn downloads(&self) -> Vec<(String, u64)> {
        let requests = self.requests.lock().unwrap();
        let contents = requests
            .iter()
            .filter_map(|(path, from)| Some((path.strip_prefix("/cdn/")?.to_owned(), *from)));
        contents.collect()
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), files),
            false => {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
}

fn answer(
    mut stream: TcpStream,
    url: &str,
    files: &Files,
    requests: &Mutex<Vec<(String, u64)>>,
    faults: &Mutex<Faults>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = (0, None);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(asked) = line.strip_prefix("range: bytes=") {
            let (from, to) = asked.split_once('-').unwrap_or((asked, ""));
            range = (from.parse().unwrap_or(0), to.parse::<usize>().ok());
        }
        if line.is_empty() {
            break;
        }
    }
    // A look at the length is no download.
    if range.1 != Some(0) {
        requests.lock().unwrap().push((path.clone(), range.0));
    }
    let faulty = faults.lock().unwrap().clone();
    if let Some(status) = faulty.status {
        return write!(
            stream,
            "HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if path.starts_with(&format!("/api/models/{ID}/revision/")) {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let listing = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        let listing = faulty.listing.unwrap_or(&listing);
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{listing}",
            listing.len()
        );
    }
    // Contents are elsewhere, as with large files on the Hub.
    if let Some(file) = path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"))
        && let Some(bytes) = files.get(file)
    {
        let hash: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let hash = faulty.tag.unwrap_or(&hash);
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {url}/cdn/{file}\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{hash}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if let Some(file) = path.strip_prefix("/cdn/")
        && let Some(bytes) = files.get(file)
    {
        let mut bytes = bytes.clone();
        if faulty.damaged == Some(file) {
            bytes[0] ^= 1;
        }
        let (from, total) = (range.0 as usize, bytes.len());
        let end = range.1.map_or(total, |last| total.min(last + 1));
        let body = &bytes[from..end];
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            end.saturating_sub(1),
            body.len()
        )?;
        let mut faults = faults.lock().unwrap();
        if let Some((cut, after, times)) = &mut faults.cut
            && *cut == file
            && *times > 0
            && range.1.is_none()
        {
            *times -= 1;
            return stream.write_all(&body[..body.len().min(*after)]);
        }
        return stream.write_all(body);
    }
    write!(
        stream,
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
