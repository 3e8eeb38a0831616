package sluice

import "errors"

// Reload is [Service.ReloadWith] the hooks and webhooks in force.
func (s *Service) Reload(topics []TopicRule) error {
	return s.ReloadWith(topics, s.inForce.hooks.Load().config, s.inForce.webhooks.Load().list)
}

// ReloadWith puts other rules for topics, hooks and webhooks in force, and reads keys, admin
// tokens, secrets and certificates again. Joined channels are judged by them: one that they
// do not admit ends with phx_error, and a socket whose key is gone is closed. How
// messages are delivered is said anew by the next join. What a hook that stays has allowed
// stays too. A webhook that has changed goes on from its position. If anything is wrong, all
// of it is told and the old stays in force.
func (s *Service) ReloadWith(topics []TopicRule, hooks Hooks, webhooks []Webhook) error {
	changed := s.config
	changed.Topics, changed.Hooks, changed.Webhooks = topics, hooks, webhooks
	var f faults
	changed.validateHooks(&f)
	changed.validateWebhooks(&f)
	changed.validateTopics(&f)
	if (hooks.Connect.URL == "") != (s.config.Hooks.Connect.URL == "") {
		f.add("Hooks.Connect.URL", schemeOf(hooks.Connect.URL), "what there was at start: whether there is a hook connect is changed by a restart")
	}
	before := s.inForce.hooks.Load()
	secrets := before.secrets
	if len(f) == 0 && hooks.SecretFile != before.config.SecretFile {
		secrets = changed.readHookSecrets(&f, s.logger)
	}
	sending := &webhookSet{list: webhooks}
	if len(f) == 0 {
		changed.checkReloaded(&f, s.rules(), s.logger)
		sending.secrets = changed.readWebhookSecrets(&f, s.inForce.webhooks.Load().secrets, s.logger)
	}
	errs := []error{f.join()}
	var accepts []func()
	for _, reread := range s.rereads() {
		accept, err := reread()
		accepts, errs = append(accepts, accept), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	after, err := s.newHookSet(hooks, secrets, before)
	if err != nil {
		return err
	}
	for _, accept := range accepts {
		accept()
	}
	s.inForce.hooks.Store(after)
	s.inForce.topics.Store(newTopicRules(topics))
	s.putWebhooks(sending)
	before.close(after)
	s.review()
	return nil
}
