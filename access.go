package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/sqlaccess"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/socket/auth"
)

// CheckFunctions asks the database whether the functions that rules of the configuration,
// which is valid, have asked (AccessSQL) are there, and whether Config.AccessRole may call
// them. All that is wrong is a [*FieldError], joined, with the SQL that mends it. Any other
// error says that the database cannot tell now.
func CheckFunctions(ctx context.Context, config Config) error {
	config = config.withDefaults()
	var f faults
	if err := config.checkFunctions(ctx, &f, config.Topics, nil, config.logger()); err != nil {
		return err
	}
	return f.join()
}

// checkFunctions reports the functions of rules that cannot be asked, but for some that have
// been looked at. The error says that it is not known.
func (c *Config) checkFunctions(ctx context.Context, f *faults, rules []TopicRule, known []sqlaccess.Function, logger *slog.Logger) error {
	asked := slices.DeleteFunc(functionsOf(rules), func(each sqlaccess.Function) bool { return slices.Contains(known, each) })
	if len(asked) == 0 {
		return nil
	}
	found, err := sqlaccess.Check(ctx, c.DatabaseURL, c.AccessRole, asked)
	switch {
	case err != nil:
		return err
	case found.Role != "":
		f.add("AccessRole", c.AccessRole, found.Role)
		return nil
	case found.Unbound != "":
		logger.Warn("row-level security does not bind the role that functions are asked as: name another by --access-role", "role", c.AccessRole, "because", found.Unbound)
	}
	for i := range rules {
		if function, ok := rules[i].function(); ok && found.Functions[function] != "" {
			f.add(fmt.Sprintf("Topics[%d].Function", i), rules[i].Function, found.Functions[function])
		}
	}
	return nil
}

// functionsOf are those that rules have asked, each once.
func functionsOf(rules []TopicRule) (all []sqlaccess.Function) {
	for i := range rules {
		if function, ok := rules[i].function(); ok && !slices.Contains(all, function) {
			all = append(all, function)
		}
	}
	return all
}

// function is what the rule has asked, if it does.
func (r *TopicRule) function() (sqlaccess.Function, bool) {
	if r.Access != AccessSQL {
		return sqlaccess.Function{}, false
	}
	function, err := sqlaccess.Parse(r.Function)
	return function, err == nil
}

// validateFunction reports a function that cannot be asked, or never is.
func (r *TopicRule) validateFunction(f *faults, c *Config) {
	switch {
	case r.Access != AccessSQL && r.Function != "":
		f.add("Function", r.Function, "nothing, since only access: sql asks one")
	case r.Access != AccessSQL:
	case c.DatabaseURL == "":
		f.add("Access", string(r.Access), "another one, or sql with --database-url: the embedded store has no functions")
	case c.AccessRole == "":
		f.add("Access", string(r.Access), "another one, or sql with --access-role, the role that functions are called as")
	}
	if _, err := sqlaccess.Parse(r.Function); r.Access == AccessSQL && err != nil {
		f.add("Function", r.Function, "a function of the database with its schema, such as app.may_join")
	}
}

// validateAccessRole reports a role that functions cannot be called as.
func (c *Config) validateAccessRole(f *faults) {
	switch {
	case c.AccessRole == "":
	case c.DatabaseURL == "":
		f.add("AccessRole", c.AccessRole, "nothing without --database-url: the embedded store has no roles")
	case sqlaccess.CheckRole(c.AccessRole) != nil:
		f.add("AccessRole", c.AccessRole, fmt.Sprintf("a role of the database (%v)", sqlaccess.CheckRole(c.AccessRole)))
	}
}

// newFunctions makes what asks the database, nil where there is no role for it.
func (s *Service) newFunctions() (*sqlaccess.Asker, error) {
	c := &s.config
	if c.AccessRole == "" {
		return nil, nil
	}
	asker, err := sqlaccess.New(sqlaccess.Config{
		DatabaseURL: c.DatabaseURL,
		Role:        c.AccessRole,
		Limits:      verdict.Limits{MaxInFlight: c.AccessConnections, MinWaiting: 2 * c.MaxChannels, Timeout: c.AccessTimeout, Cache: c.AccessCache},
		Metrics:     s.metrics,
		Logger:      s.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("access by SQL: %w", err)
	}
	return asker, nil
}

// openFunctions has the database asked from now on. Functions of rules that cannot be are an
// error; while the database cannot tell, it is asked again.
func (s *Service) openFunctions(ctx context.Context) error {
	asker := s.inForce.hooks.Load().sql
	if asker == nil {
		return nil
	}
	f, err := untilAvailable(ctx, func() (f faults, err error) {
		err = s.config.checkFunctions(ctx, &f, s.rules().list, nil, s.logger)
		if err != nil {
			s.readiness.Fail(err)
		}
		return f, err
	}, s.logger)
	if err = errors.Join(err, f.join()); err != nil {
		return err
	}
	return asker.Open()
}

// closeFunctions ends the connections for it.
func (s *Service) closeFunctions() {
	if asker := s.inForce.hooks.Load().sql; asker != nil {
		asker.Close()
	}
}

// reloadWait is how long a reload waits at least for what the database says of new functions.
const reloadWait = 10 * time.Second

// checkReloaded reports functions that are asked from now on, and could not be. Where the
// database does not say, they are taken: nobody is let in until it does.
func (c *Config) checkReloaded(f *faults, before *topicRules, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), max(reloadWait, c.AccessTimeout))
	defer cancel()
	if err := c.checkFunctions(ctx, f, c.Topics, functionsOf(before.list), logger); err != nil {
		logger.Warn("it is not known whether the functions of topic rules can be asked", "error", err)
	}
}

// askDatabase has the rule's function say whether a client may be on a topic. The error is a
// Rejection.
func (c *ruleChannel) askDatabase(ctx *Context, rule *TopicRule, anew bool) error {
	s, asker := ctx.Socket(), c.hooks().sql
	function, ok := rule.function()
	access := auth.Of(s)
	if asker == nil || !ok || access != nil && access.Claims == nil {
		return channels.Reject("unavailable")
	}
	q := c.question(s, anew)
	q.Group, q.Key = rememberedBy(s, ctx.Topic(), rule.Function)
	var claims []byte // of nobody in particular: none
	if access != nil {
		claims = access.Claims
	}
	allowed, err := asker.Ask(ctx.Context(), q, function, ctx.Topic(), claims)
	switch {
	case errors.Is(err, sqlaccess.ErrUnfit) || err == nil && !allowed:
		return channels.Reject("unauthorized")
	case err != nil:
		return channels.Reject("unavailable")
	}
	return nil
}
