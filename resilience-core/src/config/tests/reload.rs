//! The store: what a change of the file does.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::NO_ENV;
use crate::config::{Config, ConfigErrors, ConfigStore, Reload};

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
    store: ConfigStore,
}

fn pool(size: u32) -> String {
    format!("database: {{pool_size: {size}}}\n")
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, pool(1)).unwrap();
    let store = ConfigStore::load(Some(&path), NO_ENV).unwrap();
    Fixture {
        _dir: dir,
        path,
        store,
    }
}

fn applied(reload: Reload) -> Arc<Config> {
    match reload {
        Reload::Applied(config) => config,
        other => panic!("not applied: {other:?}"),
    }
}

fn refused(reload: Reload) -> ConfigErrors {
    match reload {
        Reload::Refused(errors) => errors,
        other => panic!("not refused: {other:?}"),
    }
}

fn unchanged(store: &ConfigStore) {
    let reload = store.poll();
    assert!(matches!(reload, Reload::Unchanged), "{reload:?}");
}

#[test]
fn a_file_written_in_place_is_taken_over_once() {
    let Fixture { path, store, .. } = &fixture();
    unchanged(store);
    fs::write(path, pool(2)).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 2);
    assert_eq!(store.current().database().pool_size, 2);
    unchanged(store);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.reloads_succeeded, 1);
    assert_eq!(snapshot.reloads_refused, 0);
    assert!(snapshot.last_reload_successful);
    assert_eq!(snapshot.file.as_deref(), path.to_str());
    assert_eq!(snapshot.values, store.current().effective());
}

#[test]
fn a_change_that_keeps_length_and_time_is_seen() {
    let Fixture { path, store, .. } = &fixture();
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, pool(2)).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 2);
}

#[test]
fn an_editors_rename_is_seen() {
    let Fixture { path, store, .. } = &fixture();
    let new = path.with_extension("new");
    fs::write(&new, pool(3)).unwrap();
    fs::rename(&new, path).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 3);
}

/// As the kubelet does it: a new folder, then `..data` renamed over.
fn swap(mount: &Path, version: &str, text: &str) {
    let folder = mount.join(version);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.yaml"), text).unwrap();
    let fresh = mount.join("..data_tmp");
    symlink(version, &fresh).unwrap();
    fs::rename(&fresh, mount.join("..data")).unwrap();
}

#[test]
fn the_symlink_swap_of_a_config_map_is_seen() {
    let mount = tempfile::tempdir().unwrap();
    swap(mount.path(), "..2026_01_01", &pool(1));
    let path = mount.path().join("config.yaml");
    symlink("..data/config.yaml", &path).unwrap();
    let store = ConfigStore::load(Some(&path), NO_ENV).unwrap();
    unchanged(&store);

    swap(mount.path(), "..2026_01_02", &pool(2));
    fs::remove_dir_all(mount.path().join("..2026_01_01")).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 2);
    unchanged(&store);
}

#[test]
fn a_bad_file_is_refused_once_and_the_last_good_one_stays() {
    let Fixture { path, store, .. } = &fixture();
    fs::write(path, pool(0)).unwrap();
    let errors = refused(store.poll());
    assert!(
        errors.to_string().contains("`database.pool_size` is `0`"),
        "{errors}"
    );
    unchanged(store);
    unchanged(store);
    assert_eq!(store.current().database().pool_size, 1);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.reloads_refused, 1);
    assert!(!snapshot.last_reload_successful);
    assert_eq!(snapshot.last_error, Some(errors.to_string()));

    // Wrong in another way: said again.
    fs::write(path, "database: [").unwrap();
    drop(refused(store.poll()));

    fs::write(path, pool(5)).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 5);
    assert_eq!(store.snapshot().last_error, None);
}

#[test]
fn going_back_to_the_good_content_ends_the_trouble() {
    let Fixture { path, store, .. } = &fixture();
    let before = store.current();
    let loaded_at = store.snapshot().loaded_at;
    fs::write(path, "nonsense").unwrap();
    drop(refused(store.poll()));
    fs::write(path, pool(1)).unwrap();
    assert!(Arc::ptr_eq(&applied(store.poll()), &before));
    let snapshot = store.snapshot();
    assert!(snapshot.last_reload_successful);
    assert_eq!(snapshot.last_error, None);
    assert_eq!(snapshot.loaded_at, loaded_at);
}

#[test]
fn a_missing_or_emptied_file_is_refused() {
    let Fixture { path, store, .. } = &fixture();
    fs::remove_file(path).unwrap();
    let errors = refused(store.poll());
    assert!(errors.to_string().contains("cannot be read"), "{errors}");
    unchanged(store);

    fs::write(path, "\n").unwrap();
    let errors = refused(store.poll());
    assert!(errors.to_string().contains("has become empty"), "{errors}");
    assert_eq!(store.current().database().pool_size, 1);

    fs::write(path, "{}\n").unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 20);
}

#[test]
fn variables_stay_in_force_after_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, pool(1)).unwrap();
    let env = [("APP__DATABASE__POOL_SIZE".to_owned(), "9".to_owned())];
    let store = ConfigStore::load(Some(&path), env).unwrap();
    fs::write(&path, pool(2)).unwrap();
    assert_eq!(applied(store.poll()).database().pool_size, 9);
}

#[test]
fn without_a_file_nothing_ever_changes() {
    let store = ConfigStore::load(None, NO_ENV).unwrap();
    unchanged(&store);
    assert_eq!(store.snapshot().file, None);
}
