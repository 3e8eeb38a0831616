-- By the time of a mark, all events up to its offset were in the log. This is
-- what retention counts from. Marks are a thousandth of the retention apart,
-- and go with what they mark, so that there are a thousand.
CREATE TABLE sluice_marks (
  at       INTEGER PRIMARY KEY,
  "offset" INTEGER NOT NULL
) STRICT;
