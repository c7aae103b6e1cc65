//! The real `ssh-keygen -Q` and `-k`.

use std::path::Path;
use std::process::Command;

use crate::pool::Pool;

/// Which samples `ssh-keygen -Q` calls revoked; the error text if it cannot read the KRL.
pub fn ask(pool: &Pool, krl: &Path) -> Result<Vec<bool>, String> {
    let output = Command::new("ssh-keygen")
        .args(["-Q", "-f"])
        .arg(krl)
        .args(pool.samples.iter().map(|sample| &sample.path))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0 | 1) => {}
        _ => return Err(errors),
    }
    let lines: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), pool.samples.len(), "{lines:#?} {errors}");
    let verdicts = lines.iter().zip(&pool.samples).map(|(line, sample)| {
        assert!(line.starts_with(sample.path.to_str().unwrap()), "{line}");
        match line.rsplit(": ").next() {
            Some("REVOKED") => true,
            Some("ok") => false,
            _ => panic!("ssh-keygen says neither ok nor REVOKED: {line}"),
        }
    });
    Ok(verdicts.collect())
}

/// Lets `ssh-keygen -k` write the KRL, one call for each CA: `-s` takes one.
pub fn write(krl: &Path, specs: &[(Option<&Path>, String)], scratch: &Path) {
    for (index, (ca, spec)) in specs.iter().enumerate() {
        std::fs::write(scratch, spec).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-k", "-f"]).arg(krl);
        if index > 0 {
            command.arg("-u");
        }
        // "none" files the entries under an empty CA key: every CA.
        command.arg("-s").arg(ca.unwrap_or(Path::new("none")));
        let done = command.args(["-z", "7"]).arg(scratch).output().unwrap();
        assert!(done.status.success(), "{done:?}\n{spec}");
    }
}
