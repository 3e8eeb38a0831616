-- The epochs of the log. Offsets of one epoch mean the same to everybody. A
-- backup that is put in the file's place lacks the last offsets that were given
-- out, and gives them to other events. Nothing in a file tells that it is a
-- backup: whoever puts it there begins an epoch with
--
--   INSERT INTO sluice_epochs DEFAULT VALUES;
--
-- and a position of an old one counts as far as below the first offset of its
-- successor.
CREATE TABLE sluice_epochs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  epoch  TEXT    NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
  first  INTEGER NOT NULL DEFAULT 0  -- offset that it gave, or is to give, out
) STRICT;

INSERT INTO sluice_epochs (epoch, first) SELECT epoch, 1 FROM sluice_meta;
ALTER TABLE sluice_meta DROP COLUMN epoch;

CREATE TRIGGER sluice_epoch_begun AFTER INSERT ON sluice_epochs BEGIN
  UPDATE sluice_epochs SET first = (SELECT 1 + max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)) FROM sluice_meta)
    WHERE number = new.number;
  DELETE FROM sluice_epochs
    WHERE EXISTS (SELECT 1 FROM sluice_epochs later, sluice_meta WHERE later.number > sluice_epochs.number AND later.first <= trimmed);
END;
