//! `bootstrap` against real machines and a real CA: every way in, every refusal, and what is left when it is cut off.

mod admin;
mod cut_off;
mod host_keys;
mod interrupt;
mod many;
mod obstacles;
mod running;
mod scene;
mod ways_in;
