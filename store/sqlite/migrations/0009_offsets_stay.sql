-- An event keeps its offset: another would leave a hole that nobody is told of.
CREATE TRIGGER IF NOT EXISTS sluice_log_renumbered BEFORE UPDATE OF "offset" ON sluice_log WHEN new."offset" <> old."offset" BEGIN
  SELECT RAISE(ABORT, 'an event of the log keeps its offset');
END;
