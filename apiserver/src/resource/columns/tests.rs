use super::human::duration;

fn check(seconds: i64, text: &str) {
    assert_eq!(duration(seconds), text, "{seconds} seconds");
}

#[test]
fn durations_have_two_units_at_most() {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (179 * 60 + 59, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 61, "3h1m"),
        (8 * HOUR + 1_900, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (3 * DAY + 5 * HOUR, "3d5h"),
        (8 * DAY + HOUR, "8d"),
        (729 * DAY, "729d"),
        (730 * DAY, "2y"),
        (800 * DAY, "2y70d"),
        (9 * 365 * DAY, "9y"),
    ] {
        check(seconds, text);
    }
}
