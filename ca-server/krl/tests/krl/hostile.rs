//! Hostile bytes: no panic, no surprise in memory, an error that says where.
