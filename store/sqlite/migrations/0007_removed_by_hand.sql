-- What somebody removes from the log by hand counts as trimmed, and offsets that
-- were given out are never given out again. Where it was not the front alone, an
-- epoch begins, by which positions are judged anew; one is enough for all that is
-- removed before the next event.
CREATE TRIGGER sluice_log_removed AFTER DELETE ON sluice_log WHEN old."offset" > (SELECT trimmed FROM sluice_meta) BEGIN
  INSERT INTO sluice_epochs SELECT NULL, lower(hex(randomblob(16))), 0 FROM sluice_meta
    WHERE EXISTS (SELECT 1 FROM sluice_log WHERE "offset" > trimmed AND "offset" < old."offset")
      AND (SELECT first FROM sluice_epochs ORDER BY number DESC LIMIT 1) <= max(old."offset", coalesce((SELECT max("offset") FROM sluice_log), 0));
  UPDATE sluice_meta SET trimmed = old."offset" WHERE trimmed < old."offset";
END;
