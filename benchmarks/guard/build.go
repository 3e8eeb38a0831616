package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildCommit builds a package as it was at a commit, the newest tag before the present one if
// it is empty, and names the commit. It leaves the working tree alone.
func buildCommit(ctx context.Context, commit, pkg, program string) (name string, err error) {
	if commit == "" {
		if commit, err = git(ctx, "describe", "--tags", "--abbrev=0"); err != nil {
			return "", fmt.Errorf("no tag comes before this commit: name one to compare with by --base: %w", err)
		}
	}
	if name, err = git(ctx, "log", "-1", "--format=%h %s", commit+"^{commit}", "--"); err != nil {
		return "", fmt.Errorf("--base is %q: want a commit, branch or tag: %w", commit, err)
	}
	folder, err := os.MkdirTemp("", "sluice-guard-tree-")
	if err != nil {
		return "", err
	}
	tree := filepath.Join(folder, "tree")
	if _, err := git(ctx, "worktree", "add", "--detach", tree, commit); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	err = build(ctx, tree, pkg, program)
	_, removed := git(context.WithoutCancel(ctx), "worktree", "remove", "--force", tree)
	return name, errors.Join(err, removed, os.RemoveAll(folder))
}

// build builds a package of the module in a folder.
func build(ctx context.Context, folder, pkg, program string) error {
	_, err := output(ctx, folder, "go", "build", "-o", program, pkg)
	return err
}

func git(ctx context.Context, args ...string) (string, error) {
	return output(ctx, ".", "git", args...)
}

// output is what a program prints, without the last line's end.
func output(ctx context.Context, folder, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = folder, &out, &errs
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimRight(out.String(), "\n"), nil
}
