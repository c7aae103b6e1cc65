//! How the CA's clock stands, for people.

use ca_api::admin::ClockView;

use super::table::{BAD, Fields, GOOD, styled};
use crate::cli::{text::line, time::Clock};

/// What is known, and what to do next.
#[must_use]
pub fn view(view: &ClockView, clock: Clock) -> String {
    if view.steady {
        let shown = clock.exact(view.now_unix);
        return format!(
            "{}\n",
            styled(GOOD, &format!("The CA's clock is believed: {shown}."))
        );
    }
    let mut out = Fields::new("The CA's clock")
        .field("CA's time", &clock.exact(view.now_unix))
        .field("host's clock", &clock.exact(view.wall_unix))
        .render();
    out.push_str(&format!(
        "\n{}\nEverything else goes on, by the CA's time. Is the host's clock wrong? Set it right (`timedatectl`, `chronyc makestep`): \
         then it heals by itself.\nIs it right, and was it wrong before? Then: ca-server clock accept\n",
        styled(
            BAD,
            &format!(
                "Nothing is signed: the host's clock {}.",
                line(&view.doubt)
            )
        )
    ));
    out
}
