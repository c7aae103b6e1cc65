//! The real program: keys at rest, logs, kill -9.
