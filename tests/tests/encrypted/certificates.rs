//! The certificate is replaced while questions come: none fails, a bad pair changes nothing, and the new one is shown in the end.

use crate::flood::{ask, connector};
use crate::setup::{certificate, server};
use farm_tests::daemon::SOON;
use farm_tests::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[test]
fn replaced_under_load() {
    let Some((scratch, daemon)) = server("replaced", "") else { return };
    let folder = scratch.path();
    certificate(folder, "next.pem", "next-key.pem");
    std::fs::copy(folder.join("cert.pem"), folder.join("first.pem")).expect("a copy");
    std::fs::copy(folder.join("next.pem"), folder.join("second.pem")).expect("a copy");
    let server = daemon.port("dns_tls");
    let both = connector(&[&folder.join("first.pem"), &folder.join("second.pem")]);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let asking = {
        let (stop, answered, both) = (Arc::clone(&stop), Arc::clone(&answered), both.clone());
        std::thread::spawn(move || {
            crate::setup::block_on(async {
                while !stop.load(Relaxed) {
                    assert!(ask(server, &both).await.expect("every question is answered"));
                    answered.fetch_add(1, Relaxed);
                }
            });
        })
    };
    let more = || {
        let since = answered.load(Relaxed);
        wait::until("more answers", SOON, || (answered.load(Relaxed) > since + 20 || asking.is_finished()).then_some(()));
    };
    let loads = |outcome: &str| daemon.metric(&format!("dnslb_tls_certificate_loads_total{{outcome=\"{outcome}\"}}"));
    more();
    // The certificate comes before its key, as when somebody copies by hand: the old pair stays until they fit.
    std::fs::rename(folder.join("next.pem"), folder.join("cert.pem")).expect("renamed");
    wait::until("the bad pair to be refused", SOON, || (loads("failed") == Some(1.0)).then_some(()));
    more();
    assert!(crate::setup::block_on(ask(server, &connector(&[&folder.join("second.pem")]))).is_err());
    std::fs::rename(folder.join("next-key.pem"), folder.join("key.pem")).expect("renamed");
    wait::until("the new pair", SOON, || (loads("ok") == Some(1.0)).then_some(()));
    more();
    assert!(crate::setup::block_on(ask(server, &connector(&[&folder.join("second.pem")]))).expect("an answer"));
    assert!(crate::setup::block_on(ask(server, &connector(&[&folder.join("first.pem")]))).is_err());
    stop.store(true, Relaxed);
    asking.join().expect("no question failed");
    assert!(daemon.log().contains("make no pair") && daemon.log().contains("the new certificate is in force"));
}
