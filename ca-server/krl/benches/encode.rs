//! What a KRL costs: one million serials, 100,000 key IDs; built, encoded, decoded, asked.
fn main() {
    divan::main();
}
