use super::*;

#[test]
fn every_row_finds_its_type_and_its_fields() {
    let schema = builtin::schema();
    for row in rows::TYPES {
        let Some(id) = named(schema, row.name) else { panic!("no type {}", row.name) };
        for step in row.steps {
            let Step::Fill { path, .. } = step else { continue };
            assert!(plan_step(schema, id, step).is_some(), "{}: {path}", row.name);
        }
    }
}

#[test]
fn a_row_comes_once_for_each_type() {
    for (at, row) in rows::TYPES.iter().enumerate() {
        assert!(rows::TYPES[..at].iter().all(|other| other.name != row.name), "{} comes twice", row.name);
    }
}
