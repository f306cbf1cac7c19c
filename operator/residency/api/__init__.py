"""The language spoken with users: custom resources, labels, codes and reasons; no behaviour."""
