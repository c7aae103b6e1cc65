//! What goes wrong with machines: cables, frozen processes, full and read-only disks.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::Machine;

impl Machine {
    /// Unplugs the cable: others get "No route to host" after about 3 s, kept connections hang.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn cut(&self) -> Result<()> {
        self.network(&["ip", "link", "set", &self.port(), "down"])?;
        self.forget_neighbour()
    }

    /// Drops every packet from and to it silently: others run into their own time limit.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn drop_packets(&self) -> Result<()> {
        // The neighbour is pinned, or the lost ARP requests would turn silence into "No route to host".
        self.network(&[
            "ip",
            "neighbour",
            "replace",
            &self.addr().to_string(),
            "lladdr",
            &self.mac(),
            "dev",
            "br0",
            "nud",
            "permanent",
        ])?;
        self.network(&[
            "bridge",
            "link",
            "set",
            "dev",
            &self.port(),
            "state",
            "disabled",
        ])
    }

    /// Ends [`Machine::cut`] and [`Machine::drop_packets`].
    ///
    /// # Errors
    /// When the machine is off.
    pub fn mend(&self) -> Result<()> {
        self.network(&["ip", "link", "set", &self.port(), "up"])?;
        self.network(&[
            "bridge",
            "link",
            "set",
            "dev",
            &self.port(),
            "state",
            "forwarding",
        ])?;
        // An entry that failed while the cable was out would be believed for some seconds more.
        self.forget_neighbour()
    }

    /// Stops every process of the machine where it stands: its kernel still accepts connections, nobody answers them.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn freeze(&self) -> Result<()> {
        // Twice: a process may have forked while the first went round.
        self.run(&["sh", "-c", "kill -STOP -1; kill -STOP -1"])
            .map(drop)
    }

    /// Ends [`Machine::freeze`].
    ///
    /// # Errors
    /// When the machine is off.
    pub fn thaw(&self) -> Result<()> {
        self.run(&["sh", "-c", "kill -CONT -1"]).map(drop)
    }

    /// Fills the disk to the last byte; logs and `/run` have their own.
    ///
    /// # Errors
    /// When the machine is off, or when there is room left afterwards.
    pub fn fill_disk(&self) -> Result<()> {
        self.fill_disk_leaving_kib(0)
    }

    /// Fills the disk up to so many KiB (whole pages of 4).
    ///
    /// # Errors
    /// When the machine is off, or when it is not as full as asked afterwards.
    pub fn fill_disk_leaving_kib(&self, kibibytes: u32) -> Result<()> {
        self.run(&[
            "sh",
            "-c",
            include_str!("fill.sh"),
            "fill",
            &kibibytes.to_string(),
        ])
        .map(drop)
    }

    /// Ends [`Machine::fill_disk`].
    ///
    /// # Errors
    /// When the machine is off.
    pub fn free_disk(&self) -> Result<()> {
        self.run(&["rm", "-f", "/.ballast"]).map(drop)
    }

    /// Makes the disk read-only, as a kernel does after errors.
    ///
    /// # Errors
    /// When a process has a file of it open for writing.
    pub fn read_only(&self) -> Result<()> {
        self.run(&["mount", "-o", "remount,ro", "/"]).map(drop)
    }

    /// Ends [`Machine::read_only`].
    ///
    /// # Errors
    /// When the machine is off.
    pub fn writable(&self) -> Result<()> {
        self.run(&["mount", "-o", "remount,rw", "/"]).map(drop)
    }

    /// Makes the operator's side ask for the machine's hardware address anew: a remembered one turns "No route to host" into a
    /// time-out for half a minute.
    pub(crate) fn forget_neighbour(&self) -> Result<()> {
        self.network(&[
            "ip",
            "neighbour",
            "flush",
            "to",
            &self.addr().to_string(),
            "dev",
            "br0",
            "nud",
            "all",
        ])
    }

    fn network(&self, argv: &[&str]) -> Result<()> {
        let mut command: Command = self.fleet().rack.in_network();
        let output = command.args(argv).output()?;
        ensure!(
            output.status.success(),
            "{}: {argv:?}: {}",
            self.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}
