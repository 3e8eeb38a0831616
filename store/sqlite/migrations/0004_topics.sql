-- Where each topic's events are in the log: what an index of the log would say.
-- But there each event of a thousand topics changes a page of its own, and ten
-- times as much is written as the log itself takes. So what is new is listed in
-- a small table, and goes to the large one by topics, with all that a topic has
-- gathered at once. A topic's offsets in the small table follow those in the
-- large one.
CREATE TABLE sluice_topics (
  topic    TEXT    NOT NULL,
  "offset" INTEGER NOT NULL,
  PRIMARY KEY (topic, "offset")
) STRICT, WITHOUT ROWID;
CREATE TABLE sluice_topics_recent (
  topic    TEXT    NOT NULL,
  "offset" INTEGER NOT NULL,
  PRIMARY KEY (topic, "offset")
) STRICT, WITHOUT ROWID;

INSERT INTO sluice_topics SELECT topic, "offset" FROM sluice_log ORDER BY topic, "offset";
DROP INDEX sluice_log_topic;

CREATE TRIGGER sluice_log_cut AFTER DELETE ON sluice_log BEGIN
  DELETE FROM sluice_topics        WHERE topic = old.topic AND "offset" = old."offset";
  DELETE FROM sluice_topics_recent WHERE topic = old.topic AND "offset" = old."offset";
END;
