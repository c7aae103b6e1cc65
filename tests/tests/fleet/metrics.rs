//! What a monitoring system reads.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use anyhow::{Context, Result, ensure};

use crate::scene::{Scene, poll};

fn value(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.with_context(|| format!("no {name} in\n{text}"))?;
    Ok(number.trim().parse()?)
}

#[test]
fn r7_metrics_tell_who_is_behind() -> Result<()> {
    let fleet = fleet!("r7_metrics_tell_who_is_behind");
    let scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    let socket = scene.company.data().join("admin.sock");
    let read = || -> Result<String> {
        let mut door = UnixStream::connect(&socket)?;
        door.write_all(b"GET /metrics HTTP/1.1\r\nhost: ca\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        door.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Ok(answer)
    };
    let text = read()?;
    ensure!(
        value(&text, "ssh_ca_machines{state=\"proven\"}")? == 2.0,
        "{text}"
    );
    ensure!(
        value(&text, "ssh_ca_machines_without_krl")? == 0.0,
        "{text}"
    );
    scene.machines[0].power_off()?;
    scene.revoke(1)?;
    poll("the metrics to tell", || {
        let text = read()?;
        Ok(value(&text, "ssh_ca_machines{state=\"trouble\"}")? == 1.0
            && value(&text, "ssh_ca_machines_without_krl")? == 1.0)
    })?;
    let text = read()?;
    ensure!(
        value(&text, "ssh_ca_deliveries_total{outcome=\"unreachable\"}")? >= 1.0
            && value(&text, "ssh_ca_delivery_seconds_count")? >= 1.0,
        "{text}"
    );
    Ok(())
}
