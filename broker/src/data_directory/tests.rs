use std::os::unix::fs::PermissionsExt as _;

use super::look::Look;
use super::*;

const ONE: NodeId = NodeId(1);

fn open(path: &Path) -> Result<DataDirectory, Error> {
    DataDirectory::open(path, ONE, DirectoryId(0xabc))
}

fn record(cluster: u128) -> BootstrapRecord {
    BootstrapRecord::new(ClusterId(cluster), vec![(ONE, DirectoryId(0xabc))])
}

#[test]
fn an_empty_directory_is_formatted_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let first = open(&path).unwrap();
    assert_eq!(first.identity().directory, DirectoryId(0xabc));
    assert_eq!(first.identity().cluster, None);
    drop(first);
    let again = DataDirectory::open(&path, ONE, DirectoryId(0xdef)).unwrap();
    assert_eq!(
        again.identity().directory,
        DirectoryId(0xabc),
        "not formatted again"
    );
    let mode = |name: &str| {
        std::fs::metadata(path.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode(IDENTITY), mode(LOCK), mode(".")),
        (0o600, 0o600, 0o700)
    );
    assert!(!path.join("identity.json.new").exists());
}

#[test]
fn what_a_format_left_behind_and_lost_and_found_are_nobodys() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("identity.json.new"), "{\"for").unwrap();
    std::fs::write(root.path().join(LOCK), "1\n").unwrap();
    std::fs::create_dir(root.path().join("lost+found")).unwrap();
    open(root.path()).unwrap();
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    for name in ["photo.jpg", LOG, BOOTSTRAP, "meta.properties"] {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(name), "x").unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(
            matches!(&error, Error::Foreign { found, .. } if found == name),
            "{error}"
        );
        assert_eq!(
            std::fs::read_dir(root.path()).unwrap().count(),
            1,
            "no trace"
        );
    }
}

#[test]
fn another_node_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    let error = DataDirectory::open(root.path(), NodeId(2), DirectoryId(9)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to node 1, and this is node 2"),
        "{error}"
    );
    open(root.path()).unwrap();
}

#[test]
fn a_second_opening_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let held = open(root.path()).unwrap();
    let error = open(root.path()).unwrap_err();
    let me = std::process::id();
    assert!(
        matches!(error, Error::InUse { process: Some(pid), .. } if pid == me),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("in use by process {me}")),
        "{error}"
    );
    drop(held);
    open(root.path()).unwrap();
}

#[test]
fn the_cluster_is_stored_and_then_fixed() {
    let root = tempfile::tempdir().unwrap();
    let mut directory = open(root.path()).unwrap();
    directory.set_cluster(ClusterId(5)).unwrap();
    directory.set_cluster(ClusterId(5)).unwrap();
    drop(directory);
    let mut directory = open(root.path()).unwrap();
    assert_eq!(directory.identity().cluster, Some(ClusterId(5)));
    let error = directory.set_cluster(ClusterId(6)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherCluster {
                owner: ClusterId(5),
                ..
            }
        ),
        "{error}"
    );
    let error = directory.store_bootstrap(&record(6)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherCluster {
                cluster: ClusterId(6),
                ..
            }
        ),
        "{error}"
    );
    assert!(!root.path().join(BOOTSTRAP).exists());
    directory.store_bootstrap(&record(5)).unwrap();
}

#[test]
fn the_bootstrap_record_is_stored_and_then_fixed() {
    let root = tempfile::tempdir().unwrap();
    let mut directory = open(root.path()).unwrap();
    assert_eq!(directory.bootstrap(), None);
    directory.store_bootstrap(&record(5)).unwrap();
    directory.store_bootstrap(&record(5)).unwrap();
    let mut other = record(5);
    other.voters[0].directory = DirectoryId(1);
    directory.store_bootstrap(&other).unwrap_err();
    drop(directory);
    let directory = open(root.path()).unwrap();
    assert_eq!(directory.bootstrap(), Some(&record(5)));
    assert_eq!(directory.identity().cluster, Some(ClusterId(5)));
}

#[test]
fn a_crash_between_record_and_cluster_id_is_completed() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    let before = std::fs::read(root.path().join(IDENTITY)).unwrap();
    open(root.path())
        .unwrap()
        .store_bootstrap(&record(5))
        .unwrap();
    std::fs::write(root.path().join(IDENTITY), before).unwrap();
    assert_eq!(
        open(root.path()).unwrap().identity().cluster,
        Some(ClusterId(5))
    );
    let text = std::fs::read_to_string(root.path().join(IDENTITY)).unwrap();
    assert!(
        text.contains("\"cluster\": \"00000000-0000-0000-0000-000000000005\""),
        "{text}"
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_damage_and_never_a_new_identity() {
    let root = tempfile::tempdir().unwrap();
    open(root.path())
        .unwrap()
        .store_bootstrap(&record(5))
        .unwrap();
    for name in [IDENTITY, BOOTSTRAP] {
        let path = root.path().join(name);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            let error = open(root.path()).unwrap_err();
            assert!(
                matches!(error, Error::Damaged { .. }),
                "{name} bit {bit}: {error}"
            );
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            let error = open(root.path()).unwrap_err();
            assert!(
                matches!(error, Error::Damaged { .. }),
                "{name} cut to {length}: {error}"
            );
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(
        open(root.path()).unwrap().identity().directory,
        DirectoryId(0xabc)
    );
}

#[test]
fn an_unknown_version_is_refused_as_such() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    let text = "{\"format\": 2, \"shape\": \"new\"}\n";
    let text = format!("{text}crc32 {:08x}\n", crc32fast::hash(text.as_bytes()));
    std::fs::write(root.path().join(IDENTITY), text).unwrap();
    let error = open(root.path()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, .. }), "{error}");
}

#[test]
fn a_log_that_is_gone_is_a_loss_and_not_a_beginning() {
    let root = tempfile::tempdir().unwrap();
    let mut directory = open(root.path()).unwrap();
    std::fs::create_dir(directory.log_path()).unwrap();
    directory.note_log_made().unwrap();
    drop(directory);
    assert!(open(root.path()).unwrap().identity().log_made);
    std::fs::remove_dir(root.path().join(LOG)).unwrap();
    let error = open(root.path()).unwrap_err();
    assert!(matches!(error, Error::LogMissing { .. }), "{error}");
}

#[test]
fn what_cannot_be_accessed_is_an_error_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}

/// W3 for the broker's own files: every bit of them, and nothing is changed by looking.
#[test]
fn w3_every_flipped_bit_of_the_directorys_own_files_is_told() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let mut directory = open(path).unwrap();
    directory.store_bootstrap(&record(7)).unwrap();
    assert!(matches!(Look::at(path), Err(Error::InUse { .. })));
    drop(directory);
    let sound = Look::at(path).unwrap();
    assert_eq!((&sound.damages[..], &sound.strange[..]), (&[][..], &[][..]));
    assert!(sound.identity.is_some() && sound.bootstrap.is_some());
    assert!(
        matches!(open(path), Err(Error::InUse { .. })),
        "while somebody looks"
    );
    drop(sound);
    for name in [IDENTITY, BOOTSTRAP] {
        let whole = std::fs::read(path.join(name)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path.join(name), flipped).unwrap();
            let damages = Look::at(path).unwrap().damages;
            assert!(
                damages.len() == 1 && damages[0].0 == name,
                "{name}, bit {bit}"
            );
        }
        std::fs::write(path.join(name), whole).unwrap();
    }
    std::fs::write(path.join("photo.jpg"), "x").unwrap();
    let look = Look::at(path).unwrap();
    assert_eq!(
        (look.damages.len(), &look.strange[..]),
        (0, &["photo.jpg".to_owned()][..])
    );
}

#[test]
fn what_is_no_data_directory_is_not_looked_into() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(Look::at(root.path()), Err(Error::Foreign { .. })));
    let nothing = Look::at(&root.path().join("nothing"));
    assert!(matches!(nothing, Err(Error::Io { .. })));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

/// A log that was made and is gone, or a record of another cluster: the files are whole and do not agree.
#[test]
fn files_that_do_not_agree_are_told() {
    let root = tempfile::tempdir().unwrap();
    let mut directory = open(root.path()).unwrap();
    directory.note_log_made().unwrap();
    directory.set_cluster(ClusterId(7)).unwrap();
    drop(directory);
    let other = Bootstrap {
        format: FORMAT,
        record: record(8),
    };
    replace(root.path(), BOOTSTRAP, &other).unwrap();
    let damages = Look::at(root.path()).unwrap().damages;
    let files: Vec<&str> = damages.iter().map(|(file, _)| &file[..]).collect();
    assert_eq!(files, [BOOTSTRAP, LOG]);
}
