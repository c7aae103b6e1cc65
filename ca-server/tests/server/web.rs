//! W2 and W3: hostile input at the doors.
