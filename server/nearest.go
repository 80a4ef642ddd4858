package server

import (
	"fmt"
)

// nearest returns ": did you mean NAME?" for the name that word most likely was meant to be, or where to look.
func nearest(word string, names []string) string {
	best, least := "", len(word)/3+2
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ": `parley config` lists what there is"
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// distance counts the letters to add, take away or change to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// NearestSetting returns ": did you mean NAME?" for a setting that does not exist, or what to do where none is near.
func NearestSetting(word string) string { return nearest(word, settingNames()) }

func settingNames() []string {
	var names []string
	for _, s := range settings {
		names = append(names, s.Name)
	}
	return names
}
