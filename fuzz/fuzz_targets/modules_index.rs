//! Reads arbitrary text as depmod's tables, and resolves the load order of every module in them.
#![no_main]

use std::path::Path;

use bootling::root::fact::Why;
use bootling::root::modules::builtin::Builtin;
use bootling::root::modules::depmod::Tables;
use bootling::root::modules::index::Index;
use bootling::root::modules::order::{Need, Order};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\u{1}').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let tables = Tables { dep: part(), softdep: part(), weakdep: part(), alias: part() };
    let builtin = Builtin::parse(Some(&part()), part().into_bytes());
    let index = Index::of(Path::new("/nonexistent"), &tables);
    let mut order = Order::new(Some(&index), &builtin);
    for name in index.names().into_iter().take(32) {
        let _ = order.find(name);
        let _ = order.add(name, &Why::Base, Need::Required);
    }
    for (place, step) in order.steps.iter().enumerate() {
        assert!(order.steps[..place].iter().all(|earlier| earlier.name != step.name), "duplicate module");
    }
});
