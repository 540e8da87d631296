//! Tests of downloads from a server that speaks the Hub's protocol.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ovis_image::OvisImageError;
use ovis_image::error::{HubError, HubFailure};
use ovis_image::hub::HubRepo;

use ovis_image_tests::error_chain::chain;

use crate::hub_server::{COMMIT, Faults, HubServer, ID};
use crate::support::{base_model, load, pipeline, request, values};

/// File in the large file storage.
const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
/// File in git.
const CONFIG: &str = "transformer/config.json";
/// Address of a port that nothing listens at.
const NOWHERE: &str = "http://127.0.0.1:9";

struct World {
    server: HubServer,
    cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let more: [(&str, &[u8]); 2] = [("README.md", b"text"), ("assets/a.png", b"picture")];
        Self {
            server: HubServer::start(&base_model(), &more),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn repo(&self) -> HubRepo {
        HubRepo::new(ID)
            .unwrap()
            .with_endpoint(&self.server.url)
            .with_cache(self.cache.path())
            .with_attempts(1)
    }

    fn fails_with(&self, faults: Faults) -> HubFailure {
        *self.server.faults.lock().unwrap() = faults;
        failure(self.repo().download())
    }

    /// Lists files that are complete or partial in the cache.
    fn blobs(&self) -> Vec<PathBuf> {
        let blobs = self
            .cache
            .path()
            .join("models--AIDC-AI--Ovis-Image-7B/blobs");
        let entries = std::fs::read_dir(blobs).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                let end = path.extension();
                end.is_none_or(|end| end != "lock")
            })
            .collect()
    }
}

#[track_caller]
fn failure(result: Result<PathBuf, OvisImageError>) -> HubFailure {
    match result.unwrap_err() {
        OvisImageError::Hub(HubError {
            repository,
            failure,
            ..
        }) => {
            assert_eq!(repository, ID);
            failure
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_downloaded_checkpoint_makes_the_same_image() {
    let world = World::new();
    let folder = world.repo().download().unwrap();
    let downloaded = load(folder).unwrap().generate(&request()).unwrap();
    let local = pipeline().generate(&request()).unwrap();
    assert_eq!(values(downloaded.latents), values(local.latents));
}

#[test]
fn only_what_is_needed_is_downloaded_once_and_from_one_commit() {
    let world = World::new();
    let mut seen = Vec::new();
    let first = world
        .repo()
        .download_with(|progress| {
            if progress.received == progress.total {
                seen.push((progress.index, progress.file.to_owned()));
            }
        })
        .unwrap();
    seen.dedup();
    let downloads = world.server.downloads();
    assert!(
        downloads
            .iter()
            .all(|(file, _)| !file.contains("README") && !file.contains("png"))
    );
    assert!(downloads.iter().any(|(file, _)| file == TRANSFORMER));
    let indices: Vec<usize> = seen.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, (0..downloads.len()).collect::<Vec<_>>());

    assert_eq!(world.repo().download().unwrap(), first);
    assert_eq!(world.server.downloads(), downloads, "all was in the cache");
    // The server knows the files only by this commit.
    assert!(first.ends_with(Path::new("snapshots").join(COMMIT)));
    let pinned = world.repo().with_revision(COMMIT).unwrap();
    assert_eq!(pinned.download().unwrap(), first);
}

#[test]
fn what_broke_off_goes_on_where_it_stopped() {
    let world = World::new();
    let cut = |times| Faults {
        cut: Some((TRANSFORMER, 1000, times)),
        ..Faults::default()
    };
    let failure = world.fails_with(cut(1));
    assert!(
        matches!(failure, HubFailure::Interrupted { .. }),
        "{failure}"
    );
    let snapshot = world
        .cache
        .path()
        .join(format!("models--AIDC-AI--Ovis-Image-7B/snapshots/{COMMIT}"));
    assert!(
        !snapshot.join(TRANSFORMER).exists(),
        "nothing is half-written"
    );

    let folder = world.repo().download().unwrap();
    let starts: Vec<u64> = world
        .server
        .downloads()
        .into_iter()
        .filter(|(file, _)| file == TRANSFORMER)
        .map(|(_, from)| from)
        .collect();
    assert_eq!(starts, [0, 1000]);
    assert_eq!(
        std::fs::read(folder.join(TRANSFORMER)).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
}

#[test]
fn a_short_interruption_is_not_noticed() {
    let world = World::new();
    world.server.faults.lock().unwrap().cut = Some((TRANSFORMER, 5000, 1));
    let folder = world.repo().with_attempts(2).download().unwrap();
    assert_eq!(
        std::fs::read(folder.join(TRANSFORMER)).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
}

#[test]
fn a_server_that_sends_no_parts_sends_the_whole_file() {
    let world = World::new();
    world.fails_with(Faults {
        cut: Some((TRANSFORMER, 1000, 1)),
        ..Faults::default()
    });
    world.server.faults.lock().unwrap().no_parts = true;
    let folder = world.repo().download().unwrap();
    assert_eq!(
        std::fs::read(folder.join(TRANSFORMER)).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
}

#[test]
fn a_stalled_download_ends_and_is_resumed() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let world = World::new();
    *world.server.faults.lock().unwrap() = Faults {
        stalled: Some((TRANSFORMER, 1000, 2)),
        ..Faults::default()
    };
    let repo = world.repo().with_read_timeout(TIMEOUT);
    let failure = failure(repo.download());
    assert!(
        matches!(failure, HubFailure::Stalled { waited: TIMEOUT }),
        "{failure}"
    );
    assert!(failure.to_string().contains("download again to resume"));

    // The second connection stalls, too; the third succeeds.
    let folder = repo.with_attempts(2).download().unwrap();
    let downloads = world.server.downloads().into_iter();
    let starts = downloads.filter_map(|(file, from)| (file == TRANSFORMER).then_some(from));
    assert_eq!(starts.collect::<Vec<_>>(), [0, 1000, 2000]);
    assert_eq!(
        std::fs::read(folder.join(TRANSFORMER)).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    let world = World::new();
    world.server.faults.lock().unwrap().silent = true;
    let repo = world.repo().with_read_timeout(Duration::from_millis(300));
    let stalled = failure(repo.download());
    assert!(matches!(stalled, HubFailure::Stalled { .. }), "{stalled}");

    world.server.faults.lock().unwrap().silent = false;
    let folder = repo.download().unwrap();
    world.server.faults.lock().unwrap().silent = true;
    assert_eq!(repo.download().unwrap(), folder, "the cache serves");
}

#[test]
fn the_token_is_sent_to_the_server_and_to_no_other() {
    let world = World::new();
    world.repo().with_token("hf_secret").download().unwrap();
    for request in world.server.requests.lock().unwrap().iter() {
        let token = request.token.as_deref();
        let expected = (!request.path.starts_with("/cdn/")).then_some("Bearer hf_secret");
        assert_eq!(token, expected, "{}", request.path);
    }
}

#[test]
fn a_damaged_file_is_deleted() {
    for (file, hash) in [(TRANSFORMER, "SHA-256"), (CONFIG, "git SHA-1")] {
        let world = World::new();
        let failure = world.fails_with(Faults {
            damaged: Some(file),
            ..Faults::default()
        });
        assert!(
            matches!(&failure, HubFailure::Damaged { file: named, reason } if named == file && reason.contains(hash)),
            "{failure}"
        );
        let length = std::fs::metadata(base_model().join(file)).unwrap().len();
        let lengths = world
            .blobs()
            .into_iter()
            .map(|path| std::fs::metadata(path).unwrap().len());
        assert!(!lengths.collect::<Vec<_>>().contains(&length));

        *world.server.faults.lock().unwrap() = Faults::default();
        let folder = world.repo().download().unwrap();
        assert_eq!(
            std::fs::read(folder.join(file)).unwrap(),
            std::fs::read(base_model().join(file)).unwrap()
        );
    }
}

#[test]
fn what_other_programs_or_commits_left_in_the_cache_is_used() {
    let world = World::new();
    let folder = world.repo().download().unwrap();
    let downloads = world.server.downloads();
    let repository = folder.ancestors().nth(2).unwrap();
    // As in Python's programs, only branches are recorded.
    assert!(!repository.join("refs").join(COMMIT).exists());
    assert!(repository.join("refs/main").exists());
    world.repo().download().unwrap();
    // Another commit has the same contents under another name.
    std::fs::remove_dir_all(&folder).unwrap();
    world.repo().download().unwrap();
    assert_eq!(world.server.downloads(), downloads);
    assert_eq!(
        std::fs::read(folder.join(TRANSFORMER)).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
}

#[test]
fn what_was_never_compared_is_before_it_is_used() {
    for is_damaged in [false, true] {
        let world = World::new();
        let folder = world.repo().download().unwrap();
        // State left by a run that is killed between the last byte and the comparison.
        let blob = folder.join(TRANSFORMER).canonicalize().unwrap();
        let mut bytes = std::fs::read(&blob).unwrap();
        if is_damaged {
            bytes[0] ^= 1;
        }
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(blob.with_extension("part"), bytes).unwrap();
        let before = world.server.downloads().len();
        world.repo().download().unwrap();
        assert_eq!(
            std::fs::read(folder.join(TRANSFORMER)).unwrap(),
            std::fs::read(base_model().join(TRANSFORMER)).unwrap()
        );
        let again = world.server.downloads().len() - before;
        assert_eq!(again, usize::from(is_damaged));
        assert!(!blob.with_extension("part").exists());
    }
}

#[test]
fn empty_files_and_files_with_odd_names_are_downloaded() {
    let cache = tempfile::tempdir().unwrap();
    let server = HubServer::start(&base_model(), &[("an empty one.gguf", b"")]);
    let repo = HubRepo::new(ID).unwrap().with_cache(cache.path());
    let repo = repo.with_endpoint(&server.url).with_attempts(1);
    let path = repo.download_file("an empty one.gguf", |_| {}).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"");
}

#[test]
fn tags_that_are_paths_are_refused() {
    let world = World::new();
    let failure = world.fails_with(Faults {
        tag: Some("../../../x"),
        ..Faults::default()
    });
    assert!(matches!(failure, HubFailure::Protocol { .. }), "{failure}");
    assert_eq!(world.blobs(), Vec::<PathBuf>::new());
}

#[test]
fn a_part_as_long_as_the_file_is_downloaded_again() {
    let world = World::new();
    world.fails_with(Faults {
        cut: Some((TRANSFORMER, 1000, 1)),
        ..Faults::default()
    });
    let part = world
        .blobs()
        .into_iter()
        .find(|path| path.to_str().unwrap().ends_with(".part"));
    std::fs::copy(base_model().join(TRANSFORMER), part.unwrap()).unwrap();
    let folder = world.repo().download().unwrap();
    assert!(folder.join(TRANSFORMER).is_file());
}

#[test]
fn what_is_in_the_cache_serves_without_a_network() {
    let world = World::new();
    let folder = world.repo().download().unwrap();
    let offline = HubRepo::new(ID).unwrap().with_cache(world.cache.path());
    for repo in [
        offline.clone().with_endpoint(NOWHERE).with_offline(true),
        offline.clone().with_endpoint(NOWHERE),
    ] {
        assert_eq!(repo.download().unwrap(), folder);
        assert_eq!(
            repo.clone()
                .with_revision(COMMIT)
                .unwrap()
                .download()
                .unwrap(),
            folder
        );
        let file = repo.download_file(TRANSFORMER, |_| {}).unwrap();
        assert_eq!(file, folder.join(TRANSFORMER));
    }
}

#[test]
fn a_part_of_a_checkpoint_in_the_cache_is_no_checkpoint() {
    let world = World::new();
    let folder = world.repo().download().unwrap();
    std::fs::remove_dir_all(folder.join("vae")).unwrap();
    let failure = failure(world.repo().with_offline(true).download());
    assert!(
        matches!(&failure, HubFailure::PartlyCached { source } if source.to_string().contains("vae")),
        "{failure}"
    );
}

#[test]
fn without_a_network_or_a_cache_it_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let repo = HubRepo::new(ID)
        .unwrap()
        .with_cache(empty.path())
        .with_attempts(1);
    let unreachable = failure(repo.clone().with_endpoint(NOWHERE).download());
    assert!(
        matches!(unreachable, HubFailure::Unreachable { .. }),
        "{unreachable}"
    );
    let not_cached = failure(repo.with_offline(true).download());
    assert!(matches!(not_cached, HubFailure::NotCached), "{not_cached}");
}

#[test]
fn what_the_server_refuses_is_said_with_its_status() {
    let world = World::new();
    for status in [401, 404] {
        let failure = world.fails_with(Faults {
            status: Some(status),
            ..Faults::default()
        });
        assert!(
            matches!(failure, HubFailure::Refused { status: said } if said == status),
            "{failure}"
        );
    }
}

#[test]
fn a_hostile_listing_is_refused() {
    let world = World::new();
    for (listing, reason) in [
        ("{", "protocol"),
        (r#"{"sha": "../..", "siblings": []}"#, "not a commit"),
        (
            r#"{"sha": "0123", "siblings": [{"rfilename": "model_index.json"}, {"rfilename": "vae/../../x.json"}]}"#,
            "outside",
        ),
        (
            r#"{"sha": "0123", "siblings": [{"rfilename": "a.onnx"}]}"#,
            "a.onnx",
        ),
    ] {
        let failure = world.fails_with(Faults {
            listing: Some(listing),
            ..Faults::default()
        });
        let text = chain(&failure);
        assert!(text.contains(reason), "{text}");
        assert_eq!(world.blobs(), Vec::<PathBuf>::new());
    }
}

#[test]
fn single_files_can_be_had() {
    let world = World::new();
    let path = world.repo().download_file(TRANSFORMER, |_| {}).unwrap();
    assert_eq!(
        std::fs::read(path).unwrap(),
        std::fs::read(base_model().join(TRANSFORMER)).unwrap()
    );
    let failure = failure(world.repo().download_file("no.gguf", |_| {}));
    assert!(
        matches!(failure, HubFailure::NoSuchFile { .. }),
        "{failure}"
    );
    assert!(world.repo().download_file("../x", |_| {}).is_err());
}
