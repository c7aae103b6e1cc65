//! `clock …` as it is written.

use ca_api::admin::AdminRequest;
use clap::Subcommand;

use crate::cli::order::{ConsentOption, Order};

/// What to do with the CA's clock.
#[derive(Debug, Clone, Subcommand)]
pub enum ClockVerb {
    /// Show whether the host's clock is believed, and what is wrong with it.
    #[command(after_help = "Example:\n  ca-server clock show")]
    Show,
    /// Say that the host's clock is right as it is: certificates are signed again.
    #[command(
        after_help = "While the host's clock stands more than 30 s from where it should, nothing is signed. Set it right, and that ends by itself. \
                      Only where it is right now, and was wrong before, is this the way.\n\n\
                      Example:\n  date --utc && ca-server clock accept"
    )]
    Accept {
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

impl ClockVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Show => Order::new(AdminRequest::ClockShow {}),
            Self::Accept { consent } => Order::new(AdminRequest::ClockAccept {}).asking(
                consent.consent(),
                "Is the clock of the CA's host right? (`date --utc` there shows it.) Certificates are signed by it from now on, and what ends by \
                 a date ends by it.",
            ),
        }
    }
}
