-- Reads one topic's events in (after, up_to], at most max_rows of them, for
-- clients that catch up. A first row, which only has an "offset", says how far
-- the topic is whole: up_to, or the head where the log ends before it, or -1
-- where some of it is no longer kept. STABLE makes all of it one snapshot's.
--
-- It is a function for its settings. Without them the planner, which knows
-- little of a partition that fills, sorts all of a topic to return a page of
-- it: 0.4 s where the index takes 0.2 ms.
CREATE FUNCTION sluice_replay(of_topic text, after bigint, up_to bigint, max_rows integer)
RETURNS SETOF sluice_log LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT
      CASE WHEN after < m.trimmed THEN -1
        ELSE least(up_to, greatest(m.trimmed, (SELECT max("offset") FROM sluice_log))) END,
      NULL::text, NULL::text, NULL::json, NULL::text, NULL::timestamptz
    FROM sluice_meta m;
  RETURN QUERY SELECT * FROM sluice_log
    WHERE topic = of_topic AND "offset" > after AND "offset" <= up_to ORDER BY "offset" LIMIT max_rows;
END $$;
